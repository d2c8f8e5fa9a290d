"""Scoring, the prediction log, broken models, and an outside that is away or busy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import DAYS, SLUG, copy_home, log_of, platform_at, with_model

from ml.adapters.files import exclusive
from ml.adapters.model_files import NATIVE
from ml.core.errors import DataError, TransientError
from ml.core.ports import Platform
from ml.core.prediction_log import PREDICTION_LOG
from ml.core.prediction_source import Source
from ml.core.spec import UseCase
from ml.stages import ingest, promote, score, train, validate
from ml.stages.runner import Arguments, run_stage

pytestmark = pytest.mark.xdist_group("chain")
Broken = Callable[..., Platform]


def test_both_models_score_every_row_and_the_routed_one_answers(chain: Any) -> None:
    log = log_of(chain.platform, 2)
    assert len(log) == sum(chain.scored.rows.values()) > 1800
    assert log["champion_score"].notna().all() and log["canary_score"].notna().all()
    routed = np.where(log["served"] == "canary", log["canary_score"], log["champion_score"])
    assert (log["score"] == routed).all() and (log["served"] == log["assigned"]).all()
    assert log["score"].between(0, 1).all()
    assert set(log["champion_version"]) == {1} and set(log["canary_version"]) == {2}


def test_the_canarys_share_is_near_its_weight(chain: Any) -> None:
    share = (log_of(chain.platform, 2)["served"] == "canary").mean()
    assert abs(share - 0.10) < 4 * (0.1 * 0.9 / 1900) ** 0.5


def test_the_log_is_the_published_one(chain: Any) -> None:
    table = chain.platform.lake.read("predictions", "revision=2", DAYS[:1])
    wanted = {f.name: f.type for f in PREDICTION_LOG}
    assert {f.name: f.type for f in table.schema} == wanted
    log = table.to_pandas()
    assert log["request_id"].is_unique and set(log["source"]) == {"score"}
    features = json.loads(log["features"][0])
    assert set(features) >= {"origin_overdue__overdue_count_6h", "day_of_week", "carrier"}
    assert features["carrier"] in log["key"][0], "text stays text"


def test_features_that_were_missing_are_flagged(chain: Any) -> None:
    log = log_of(chain.platform, 2)
    missing = log["features"].str.contains("null")
    assert missing.any()
    assert (log["flags"].map(list).map(bool) == missing).all()


def test_scoring_again_overwrites_its_own_partition(broken: Broken, chain: Any) -> None:
    platform = broken()
    again = score.run(platform, partitions=chain.days[-2:], source=Source.SCORE)
    assert again == chain.scored
    assert platform.lake.keys("predictions", "revision=2") == DAYS
    assert len(log_of(platform, 2)) == sum(again.rows.values())


def test_a_past_partition_is_answered_by_the_release_of_its_time(
    broken: Broken, spec: UseCase
) -> None:
    platform = broken()
    days = spec.partitions("2013-02-27", "2013-03-02")
    found = score.run(platform, partitions=days, source=Source.REPLAY)
    assert found.skipped == ("2013-02-27", "2013-02-28"), "nothing was released yet"
    assert found.partitions == 2 and set(found.rows) == {"champion"}
    log = log_of(platform, 1, "2013-03-01", "2013-03-02")
    assert set(log["revision"]) == {1} and log["canary_version"].isna().all()
    assert log["canary_score"].isna().all() and set(log["source"]) == {"replay"}


@pytest.mark.filterwarnings("error:The behavior of DataFrame concatenation:FutureWarning")
def test_partitions_with_and_without_a_canary_are_summed_up(broken: Broken, spec: UseCase) -> None:
    platform = broken()
    found = score.run(
        platform, partitions=spec.partitions("2013-03-17", DAYS[1]), source=Source.REPLAY
    )
    logs = [log_of(platform, 1, "2013-03-17", "2013-03-17"), log_of(platform, 2)]
    assert {len(set(log["canary_version"].dropna())) for log in logs} == {0, 1}
    assert set(found.rows) == {"champion", "canary"}
    assert sum(found.rows.values()) > sum(map(len, logs)) > 0


def test_before_the_first_release_everything_is_skipped(
    data_home: Any, tmp_path: Path, spec: UseCase
) -> None:
    platform = platform_at(copy_home(data_home[0], tmp_path / "home"), spec)
    days = spec.partitions(*DAYS)
    found = score.run(platform, partitions=days, source=Source.SCORE)
    assert found.skipped == DAYS and found.rows == {} and np.isnan(found.mean_score)


def test_when_the_canary_breaks_the_champion_answers(broken: Broken, chain: Any) -> None:
    def explode(rows: pd.DataFrame) -> np.ndarray:
        raise RuntimeError("boom")

    platform = with_model(broken(), 2, explode)
    found = score.run(platform, partitions=chain.days[-1:], source=Source.SCORE)
    assert set(found.rows) == {"champion"}
    log = log_of(platform, 2, DAYS[1])
    assert set(log["canary_error"]) == {"RuntimeError"} and log["canary_score"].isna().all()
    assert (log["score"] == log["champion_score"]).all()
    assert (log["assigned"] == "canary").any(), "who should have answered stays on record"


def test_when_the_canary_answers_nothing_the_champion_answers(broken: Broken, chain: Any) -> None:
    platform = with_model(broken(), 2, lambda rows: np.full(len(rows), np.nan))
    found = score.run(platform, partitions=chain.days[-1:], source=Source.SCORE)
    assert set(found.rows) == {"champion"}
    assert log_of(platform, 2, DAYS[1])["score"].notna().all()


def test_a_champion_that_answers_nothing_is_an_error_to_read(broken: Broken, chain: Any) -> None:
    platform = with_model(broken(), 1, lambda rows: np.full(len(rows), np.nan))
    with pytest.raises(DataError):
        score.run(platform, partitions=chain.days[-1:], source=Source.SCORE)


def model_file(platform: Platform, version: int) -> Path:
    """Where the native file of a version lies."""
    import mlflow

    uri = platform.tracking.uri  # type: ignore[attr-defined]  # the adapter's
    tags = platform.tracking.tags(platform.registry.version(version).run_id)
    model = mlflow.MlflowClient(uri, uri).get_logged_model(tags["model.uri"].split("/")[-1])
    folder = Path(model.artifact_location.removeprefix("file://"))
    (found,) = folder.rglob(NATIVE[tags["model.kind"]])
    return found


def test_a_corrupt_model_is_refused_and_the_process_survives(broken: Broken, chain: Any) -> None:
    """LightGBM's own parser ends the process."""
    platform = broken()
    path = model_file(platform, 1)
    path.write_bytes(path.read_bytes()[:2000] + b"\x00garbage")
    with pytest.raises(DataError, match="is not the one that was recorded"):
        score.run(platform, partitions=chain.days[-1:], source=Source.SCORE)
    with pytest.raises(DataError, match="is not the one that was recorded"):
        validate.run(platform, version=1)


def test_a_corrupt_canary_does_not_stop_the_champion(broken: Broken, chain: Any) -> None:
    platform = broken()
    model_file(platform, 2).write_text("tree")
    score.run(platform, partitions=chain.days[-1:], source=Source.SCORE)
    assert set(log_of(platform, 2, DAYS[1])["canary_error"]) == {"DataError"}


def test_a_model_file_that_is_gone_is_an_error_to_read(broken: Broken, chain: Any) -> None:
    platform = broken()
    model_file(platform, 1).unlink()
    with pytest.raises(DataError):
        score.run(platform, partitions=chain.days[-1:], source=Source.SCORE)


# --- the outside is away, or busy ---


@pytest.mark.parametrize("stage", ["train", "validate", "promote", "score"])
def test_a_tracking_server_that_is_away_is_said_soon_and_may_be_tried_again(
    broken: Broken, spec: UseCase, stage: str
) -> None:
    platform = broken(tracking_uri="http://127.0.0.1:1")
    start = time.perf_counter()
    away = r"MLflow does not answer at http://127\.0\.0\.1:1"
    with pytest.raises(TransientError, match=away):  # noqa: PT012  # four stages, one claim
        if stage == "train":
            train.run(platform, as_of=spec.as_of("2013-03-20"))
        elif stage == "score":
            score.run(platform, partitions=spec.partitions(*DAYS), source=Source.SCORE)
        else:
            {"validate": validate.run, "promote": promote.run}[stage](platform, version=1)
    assert time.perf_counter() - start < 15


def test_a_second_stage_of_a_use_case_waits_its_turn(empty: Platform, tmp_path: Path) -> None:
    where = empty.warehouse.settings  # type: ignore[attr-defined]  # the adapter's
    with (
        exclusive(where.home / "locks" / f"{SLUG}.lock"),
        pytest.raises(TransientError, match=f"{SLUG} is busy"),
    ):
        run_stage("ingest", SLUG, Arguments(first="2013-01-01"), where=where)
    assert not (where.home / "lake").exists()


def test_a_stage_by_its_name_is_the_stage(empty: Platform) -> None:
    where = empty.warehouse.settings  # type: ignore[attr-defined]  # the adapter's
    ran = run_stage("ingest", SLUG, Arguments(first="2013-01-01"), where=where)
    direct = ingest.run(empty, partitions=empty.spec.partitions("2013-01-01", "2013-01-01"))
    assert ran.result == direct and ran.seconds > 0 and ran.stage == "ingest"
