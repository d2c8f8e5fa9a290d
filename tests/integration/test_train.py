"""The real chain, and training: repeatable, honest about time, clear about bad input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import SLUG, copy_home, platform_at, training_set, verdicts, with_labels

from ml.core.digests import frame_digest
from ml.core.errors import ConfigError, DataError
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages import train
from ml.stages.examples import read_examples, with_label

pytestmark = pytest.mark.xdist_group("chain")
Broken = Callable[..., Platform]


# --- the chain ---


def test_the_first_model_has_its_own_path_and_the_second_is_compared(chain: Any) -> None:
    first, second = chain.verdicts
    assert (first.champion, second.champion) == (None, 1)
    assert verdicts(first) == {"skill": "PASS", "leak": "PASS"}
    assert verdicts(second) == {"skill": "PASS", "leak": "PASS", "better": "PASS"}


def test_aliases_and_tags_say_what_is_released(chain: Any) -> None:
    one, two = chain.platform.registry.versions()
    assert (one.aliases, two.aliases) == (("champion",), ("canary",))
    assert (one.tags["release.traffic_pct"], two.tags["release.traffic_pct"]) == ("90", "10")
    assert two.tags["release.gate.better"] == "PASS" and two.tags["release.decision"] == "accepted"
    assert len(two.tags["release.evidence_sha256"]) == 64


def test_the_manifest_repeats_the_newest_revision(chain: Any) -> None:
    import mlflow

    client = mlflow.MlflowClient(chain.platform.registry.uri, chain.platform.registry.uri)
    tags = client.get_registered_model(SLUG).tags
    assert tags["release.manifest"] == tags["release.revision.0002"]
    assert tags["release.manifest"] == chain.platform.registry.releases()[-1].to_json()


def test_a_run_can_be_read_by_people(chain: Any) -> None:
    tags = chain.platform.tracking.tags(chain.second.run_id)
    assert tags["window.holdout"].endswith("..2013-03-18"), "the 19th closes at noon"
    for name in ("dataset.sha256", "code.sha256", "git.commit", "feature_service", "requested_by"):
        assert tags[name]
    evidence = chain.platform.tracking.evidence(chain.second.run_id)
    assert evidence["decision"] == "accepted" and evidence["champion"] == 1


# --- train ---


def test_the_same_training_is_found_again(broken: Broken, chain: Any, spec: UseCase) -> None:
    platform = dataclasses.replace(broken(), code_digest=chain.platform.code_digest)
    again = train.run(platform, as_of=spec.as_of("2013-03-20"))
    assert again == dataclasses.replace(chain.second, is_new=False)


def test_another_home_gives_the_same_model(
    chain: Any, data_home: Any, tmp_path: Path, spec: UseCase
) -> None:
    platform = platform_at(copy_home(data_home[0], tmp_path / "home"), spec)
    platform.features.apply()
    other = train.run(platform, as_of=spec.as_of("2013-03-01"))
    assert other.is_new and other.run_id != chain.first.run_id
    assert other.dataset_digest == chain.first.dataset_digest
    assert other.model_digest == chain.first.model_digest


@pytest.mark.parametrize("change", ["seed", "code"])
def test_another_seed_or_code_is_another_run(
    broken: Broken, chain: Any, spec: UseCase, change: str
) -> None:
    if change == "seed":
        model = spec.model.model_copy(update={"seed": 8})
        platform = broken(spec.model_copy(update={"model": model}))
    else:
        platform = dataclasses.replace(broken(), code_digest="0" * 64)
    other = train.run(platform, as_of=spec.as_of("2013-03-01"))
    assert other.is_new and other.version == 3
    assert other.dataset_digest == chain.first.dataset_digest
    assert (other.model_digest == chain.first.model_digest) == (change == "code")


def test_a_training_that_was_killed_is_closed_and_done_anew(
    broken: Broken, chain: Any, spec: UseCase
) -> None:
    import mlflow

    platform = dataclasses.replace(broken(), code_digest="1" * 64)
    client = mlflow.MlflowClient(platform.registry.uri, platform.registry.uri)  # type: ignore[attr-defined]  # the adapter's
    first = train.run(platform, as_of=spec.as_of("2013-03-01"))
    client.update_run(first.run_id, status="RUNNING")
    again = train.run(platform, as_of=spec.as_of("2013-03-01"))
    assert again.is_new and again.run_id != first.run_id
    assert again.model_digest == first.model_digest
    assert client.get_run(first.run_id).info.status == "KILLED"


def test_the_holdout_is_not_in_the_training_set(chain: Any, spec: UseCase) -> None:
    windows = spec.windows(spec.as_of("2013-03-20"))
    rows = training_set(chain.platform, chain.second.dataset_digest)
    assert set(rows["partition_key"]) == {p.key for p in (*windows.fit, *windows.select)}
    assert max(rows["partition_key"]) < windows.holdout[0].key
    assert set(rows.loc[rows["window"] == "select", "partition_key"]) == {
        p.key for p in windows.select
    }


def test_a_run_names_where_its_training_set_lies(chain: Any) -> None:
    lake, digest = chain.platform.lake, chain.second.dataset_digest
    tags = chain.platform.tracking.tags(chain.second.run_id)
    assert tags["dataset.path"] == lake.address("training_sets", digest[:32], None)
    assert lake.count("training_sets", digest[:32], None) == chain.second.rows
    assert frame_digest(training_set(chain.platform, digest)) == digest


def test_the_champion_has_not_seen_the_challengers_holdout(chain: Any, spec: UseCase) -> None:
    holdout = {p.key for p in spec.windows(spec.as_of("2013-03-20")).holdout}
    seen = training_set(chain.platform, chain.first.dataset_digest)["partition_key"]
    assert not holdout & set(seen)


def test_only_labels_that_were_known_are_used(chain: Any, spec: UseCase) -> None:
    """A flight that lands after `as_of` has no label yet, whatever the table says today."""
    days = spec.partitions("2013-02-01", "2013-02-03")
    examples = read_examples(chain.platform, days)
    known_by = days[1].start
    kept = with_label(chain.platform, examples, known_by=known_by)
    assert 0 < len(kept) < len(examples)
    assert (kept["label_known_at"] <= known_by).all() and kept["is_late"].notna().all()
    left_out = examples[~examples["flight_id"].isin(kept["flight_id"])]
    assert ((left_out["label_known_at"] > known_by) | left_out["is_late"].isna()).all()


def test_too_early_a_time_says_how_much_is_needed(chain: Any, spec: UseCase) -> None:
    with pytest.raises(ConfigError, match="at least 35"):
        train.run(chain.platform, as_of=spec.as_of("2013-01-20"))


def test_a_window_of_one_class_is_bad_data(chain: Any, spec: UseCase) -> None:
    platform = with_labels(chain.platform, lambda rows: rows.assign(is_late=0))
    with pytest.raises(DataError, match="holds 1 class"):
        train.run(platform, as_of=spec.as_of("2013-03-01"))


def test_a_partition_that_was_not_transformed_is_named(chain: Any, spec: UseCase) -> None:
    with pytest.raises(DataError, match=r"not transformed yet: 2013-03-22 and 3 more"):
        train.run(chain.platform, as_of=spec.as_of("2013-04-10"))


def test_training_without_a_time_and_without_data_is_an_error_to_read(empty: Platform) -> None:
    with pytest.raises((ConfigError, DataError)):
        empty.data_time()
