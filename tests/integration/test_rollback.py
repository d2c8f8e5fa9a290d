"""Rollback: one step back out of every live state, said in tags, and never two by accident."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from releases import accept, change, state, unrepaired
from support import DAYS, SLUG, log_of

from ml.core.errors import ConfigError, DataError
from ml.core.ports import Platform
from ml.core.prediction_source import Source
from ml.core.release import in_force_at
from ml.core.spec import UseCase
from ml.stages import promote, rollback, score, train

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chain")]
Broken = Callable[..., Platform]


@pytest.fixture
def crowned(broken: Broken) -> Platform:
    """Version 2 has taken the place of version 1."""
    platform = broken()
    promote.run(platform, version=2, as_champion=True)
    return platform


def tags(platform: Platform, version: int) -> dict[str, str]:
    """The release tags of a version, without verdicts."""
    found = platform.registry.version(version).tags
    names = ("status", "traffic_pct", "rolled_back_reason", "rolled_back_from_revision")
    return {name: found[f"release.{name}"] for name in names if f"release.{name}" in found}


def aliases(platform: Platform) -> dict[int, tuple[str, ...]]:
    return {found.version: found.aliases for found in platform.registry.versions()}


def test_a_canary_is_withdrawn_and_the_champion_keeps_all(broken: Broken) -> None:
    platform = broken()
    found = rollback.run(platform, reason="late  flights\nare missed")
    assert (found.rolled_back, found.champion, found.revision, found.is_new) == (2, 1, 3, True)
    assert aliases(platform) == {1: ("champion",), 2: ()}
    assert tags(platform, 1) == {"status": "champion", "traffic_pct": "100"}
    assert tags(platform, 2) == {
        "status": "rolled_back",
        "traffic_pct": "0",
        "rolled_back_reason": "late flights are missed",
        "rolled_back_from_revision": "2",
    }
    told = platform.registry.version(2).description
    assert told.startswith("Rolled back from release 2: late flights are missed.\n\nAccepted")


def test_the_previous_champion_comes_back(crowned: Platform) -> None:
    found = rollback.run(crowned)
    assert (found.rolled_back, found.champion, found.revision) == (2, 1, 4)
    assert aliases(crowned) == {1: ("champion",), 2: ()}
    assert tags(crowned, 1) == {"status": "champion", "traffic_pct": "100"}
    assert tags(crowned, 2) == {
        "status": "rolled_back",
        "traffic_pct": "0",
        "rolled_back_reason": "none given",
        "rolled_back_from_revision": "3",
    }


def test_each_call_is_one_step(crowned: Platform, spec: UseCase) -> None:
    """First the canary goes, then the champion; then it says that nothing is left."""
    version = train.run(crowned, as_of=spec.as_of("2013-03-21")).version
    accept(crowned, version)
    promote.run(crowned, version=version)
    assert aliases(crowned) == {1: ("previous",), 2: ("champion",), 3: ("canary",)}
    assert rollback.run(crowned).rolled_back == 3
    assert aliases(crowned) == {1: ("previous",), 2: ("champion",), 3: ()}
    assert rollback.run(crowned).rolled_back == 2
    before = state(crowned)
    with pytest.raises(ConfigError, match="nothing to roll back to: version 1 is the champion"):
        rollback.run(crowned)
    assert state(crowned) == before


def test_before_the_first_release_there_is_nothing_to_take_back(empty: Platform) -> None:
    with pytest.raises(ConfigError, match="nothing of flight_delay was released yet"):
        rollback.run(empty)


@pytest.mark.parametrize("expect", [0, 2])
def test_killed_before_any_write_it_is_finished_by_the_next_call(
    broken: Broken, expect: int
) -> None:
    """And the next call takes no step of its own."""
    platform = broken()
    writes, wrong = unrepaired(platform, lambda: rollback.run(platform, expect=expect))
    assert writes > 8 and wrong == []


@pytest.mark.parametrize("expect", [0, 3])
def test_killed_while_a_champion_comes_back_it_is_finished_by_the_next_call(
    crowned: Platform, expect: int
) -> None:
    writes, wrong = unrepaired(crowned, lambda: rollback.run(crowned, expect=expect))
    assert writes > 8 and wrong == []


def test_a_call_that_only_finished_another_says_so(crowned: Platform) -> None:
    rollback.run(crowned, reason="slow")
    mark = "key = 'release.rolled_back_from_revision'"
    change(crowned, f"delete from model_version_tags where {mark}")
    again = rollback.run(crowned, reason="another")
    assert (again.is_new, again.reason, again.rolled_back) == (False, "slow", 2)
    assert "run it again for another step back" in again.note
    assert tags(crowned, 2)["rolled_back_from_revision"] == "3"


def test_a_promotion_repairs_what_a_rollback_has_left(broken: Broken, spec: UseCase) -> None:
    platform = broken()
    rollback.run(platform)
    whole = tags(platform, 2)
    change(platform, "delete from model_version_tags where key like 'release.rolled%'")
    version = train.run(platform, as_of=spec.as_of("2013-03-21")).version
    accept(platform, version)
    promote.run(platform, version=version)
    assert tags(platform, 2) == whole


def test_with_the_revision_to_leave_a_repeated_call_takes_no_second_step(broken: Broken) -> None:
    platform = broken()
    first = rollback.run(platform, expect=2)
    before = state(platform)
    again = rollback.run(platform, expect=2)
    assert (first.is_new, again.is_new, again.revision) == (True, False, first.revision)
    assert state(platform) == before


@pytest.mark.parametrize("expect", [1, 3])
def test_another_revision_than_the_one_looked_at_is_refused(broken: Broken, expect: int) -> None:
    platform = broken()
    before = state(platform)
    with pytest.raises(ConfigError, match=r"release 2 is in force \(version 1 .* version 2 the c"):
        rollback.run(platform, expect=expect)
    assert state(platform) == before


@pytest.mark.parametrize("as_champion", [False, True])
def test_what_was_rolled_back_is_not_promoted_again(broken: Broken, as_champion: bool) -> None:
    platform = broken()
    rollback.run(platform, reason="slow")
    before = state(platform)
    with pytest.raises(ConfigError, match=r"rolled back \(slow\)|version 2 is not the canary"):
        promote.run(platform, version=2, as_champion=as_champion)
    assert state(platform) == before


def test_a_champion_that_is_lost_does_not_come_back(crowned: Platform) -> None:
    """The one that is there answers; the one before would not."""
    before, run_id = state(crowned), crowned.registry.version(1).run_id
    crowned.tracking._client.set_tag(run_id, "model.sha256", "0" * 64)  # type: ignore[attr-defined]  # the adapter's
    with pytest.raises(DataError, match="version 1, the champion before, cannot come back"):
        rollback.run(crowned)
    assert state(crowned) == before


def test_a_previous_version_that_was_deleted_stops_no_step(
    crowned: Platform, spec: UseCase
) -> None:
    """Only the way back to it is closed."""
    registry = crowned.registry
    registry._client.delete_model_version(SLUG, "1")  # type: ignore[attr-defined]  # the adapter's
    version = train.run(crowned, as_of=spec.as_of("2013-03-21")).version
    accept(crowned, version)
    assert promote.run(crowned, version=version).alias == "canary"
    assert aliases(crowned) == {2: ("champion",), 3: ("canary",)}
    assert rollback.run(crowned).rolled_back == 3
    assert tags(crowned, 3)["status"] == "rolled_back"
    with pytest.raises(DataError, match="version 1, the champion before, cannot come back"):
        rollback.run(crowned)


def test_a_reason_is_a_few_words(broken: Broken) -> None:
    platform = broken()
    before = state(platform)
    with pytest.raises(ConfigError, match="a reason of 201 characters"):
        rollback.run(platform, reason="x" * 201)
    assert state(platform) == before


def test_what_was_answered_keeps_its_release(broken: Broken, spec: UseCase) -> None:
    """Scored again after the rollback, a partition has the same answers by the same models."""
    platform = broken()
    past = [spec.as_of("2013-03-20"), spec.as_of("2013-03-10")]
    before = log_of(platform, 2), [in_force_at(platform.registry.releases(), t) for t in past]
    rollback.run(platform)
    releases = platform.registry.releases()
    assert [in_force_at(releases, time) for time in past] == before[1]
    assert releases[-1].in_force_from == platform.data_time()
    days = spec.partitions(*DAYS)
    score.run(platform, partitions=days, source=Source.SCORE)
    again = log_of(platform, 2)
    columns = ["key", "served", "score", "champion_score", "canary_score", "revision"]
    assert again[columns].equals(before[0][columns])
    assert platform.lake.keys("predictions", "revision=3") == ()


def test_from_then_on_the_champion_answers_alone(broken: Broken, spec: UseCase) -> None:
    platform = broken()
    for table in ("flights", "weather"):
        platform.lake.remove("raw", table, DAYS[-1])  # it has not come yet
    rollback.run(platform)
    scored = score.run(platform, partitions=spec.partitions(*DAYS), source=Source.SCORE)
    assert set(log_of(platform, 3, DAYS[-1])["served"]) == {"champion"}
    assert log_of(platform, 3, DAYS[-1])["canary_score"].isna().all()
    assert scored.rows["champion"] > scored.rows["canary"] > 0


def test_the_command_says_what_serves_now(
    broken: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from ml import settings as settings_module
    from ml.cli import app

    platform = broken()
    monkeypatch.setenv("MLOPS_HOME", str(platform.warehouse.settings.home))  # type: ignore[attr-defined]  # the adapter's
    settings_module.settings.cache_clear()
    done: Any = CliRunner().invoke(app, ["rollback", "flight_delay", "--reason", "slow"])
    settings_module.settings.cache_clear()
    assert done.exit_code == 0, done.output
    shown = {line.split()[0]: line.split()[-1] for line in done.output.splitlines()[1:]}
    assert (shown["rolled"], shown["champion"], shown["reason"]) == ("2", "1", "slow")
