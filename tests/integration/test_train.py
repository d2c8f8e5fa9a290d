"""The real chain, and training: repeatable, honest about time, clear about bad input."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import SLUG, copy_home, platform_at, training_set, verdicts, with_labels

from ml.core.digests import frame_digest
from ml.core.errors import ConfigError, DataError, TransientError
from ml.core.plans import IntRange, SearchPlan
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
    assert set(verdicts(first).values()) == set(verdicts(second).values()) == {"PASS"}
    assert "better" not in verdicts(first) and "better" in verdicts(second)


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


def test_a_run_can_be_read_by_people(chain: Any, spec: UseCase) -> None:
    tracking, run_id = chain.platform.tracking, chain.second.run_id
    tags = tracking.tags(run_id)
    assert tags["window.holdout"].endswith("..2013-03-18"), "the 19th closes at noon"
    named = "dataset.sha256 dataset.path feature_service code.sha256 git.commit git.dirty "
    named += "env.lock_sha256 spec.sha256 contract.sha256 rule.sha256 model.kind requested_by"
    assert all(tags[name] for name in named.split())
    assert tags["stage"] == "train" and float(tags["latency_us"]) > 0
    evidence = tracking.evidence(run_id)
    assert evidence["decision"] == "accepted" and evidence["champion"] == 1
    assert UseCase.model_validate_json(tracking.document(run_id, "spec.json")) == spec
    assert tracking.document(run_id, "notes.md") == tags["mlflow.note.content"]


def test_a_run_shows_figures_curves_and_tables(chain: Any) -> None:
    client, run_id = mlflow_client(chain.platform), chain.second.run_id
    paths = {file.path for file in client.list_artifacts(run_id, "plots")}
    drawn = "roc precision_recall calibration gain scores cost competitors by_carrier by_origin "
    drawn += "by_month" + (" learning_curve importance" if is_boosted(chain.second) else "")
    assert paths >= {f"plots/{name}.png" for name in drawn.split()}
    tables = {file.path for file in client.list_artifacts(run_id, "tables")}
    told = ("competitors", "importance", "trials", "by_month", "by_carrier", "by_origin")
    assert tables == {f"tables/{name}.json" for name in told}
    metrics = client.get_run(run_id).data.metrics
    for name in ("log_loss", "skill", "auc", "average_precision", "calibration_error", "cost"):
        bounds = [metrics[f"select/{name}{end}"] for end in ("_lower", "", "_upper")]
        assert bounds == sorted(bounds)
    assert metrics["select/cost"] < min(metrics["select/never_cost"], metrics["select/always_cost"])
    best = chain.second.losses[chain.second.chosen]
    assert metrics["select/log_loss"] == pytest.approx(best, abs=1e-6)


def is_boosted(trained: Any) -> bool:
    return bool(trained.chosen == "lightgbm")


def mlflow_client(platform: Any) -> Any:
    import mlflow

    return mlflow.MlflowClient(platform.tracking.uri, platform.tracking.uri)


def test_a_version_says_what_it_is(chain: Any) -> None:
    found = chain.platform.registry.version(2)
    tags = chain.platform.tracking.tags(chain.second.run_id)
    for name in ("as_of", "model.kind", "model.sha256", "contract.sha256", "window.holdout"):
        assert found.tags[name] == tags[name]


def test_three_competitors_are_compared_on_the_same_rows(chain: Any) -> None:
    losses = chain.second.losses
    assert set(losses) == {"rule", "logistic", "lightgbm"} and chain.second.trials == 2
    assert losses[chain.second.chosen] == min(losses.values()) < losses["rule"]


def test_the_registered_model_can_be_loaded_and_served_by_mlflow(chain: Any) -> None:
    """What `mlflow models serve` does with a JSON request, without its process."""
    import mlflow

    platform = chain.platform
    mlflow.set_tracking_uri(platform.tracking.uri)
    mlflow.set_registry_uri(platform.tracking.uri)
    served = mlflow.pyfunc.load_model(f"models:/{SLUG}/2")
    rows = training_set(platform, chain.second.dataset_digest)
    rows = rows[rows["window"] == "select"].head(50)
    own = platform.tracking.load_model(chain.second.run_id)
    columns = list(own.columns)
    assert served.predict(rows[columns]).tolist() == own.predict(rows).tolist()
    blank = rows[columns].head(1).astype(object)
    blank.loc[:, ["carrier", columns[0]]] = None
    assert 0 < served.predict(blank)[0] < 1


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


def test_the_holdout_changes_nothing(broken: Broken, chain: Any, spec: UseCase) -> None:
    """Its labels are poisoned, and the same model comes out."""
    first = spec.windows(spec.as_of("2013-03-20")).holdout[0].key

    def poisoned(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(is_late=rows["is_late"].where(rows["partition_key"] < first, 1.0))

    platform = with_labels(dataclasses.replace(broken(), code_digest="2" * 64), poisoned)
    other = train.run(platform, as_of=spec.as_of("2013-03-20"))
    assert other.is_new and other.dataset_digest == chain.second.dataset_digest
    assert other.model_digest == chain.second.model_digest


def test_too_early_a_time_says_how_much_is_needed(chain: Any, spec: UseCase) -> None:
    with pytest.raises(ConfigError, match="at least 35"):
        train.run(chain.platform, as_of=spec.as_of("2013-01-20"))


def test_a_window_of_one_class_is_bad_data(chain: Any, spec: UseCase) -> None:
    platform = with_labels(chain.platform, lambda rows: rows.assign(is_late=0))
    with pytest.raises(DataError, match="holds 1 class"):
        train.run(platform, as_of=spec.as_of("2013-03-01"))


def test_a_window_without_rows_is_bad_data(chain: Any, spec: UseCase) -> None:
    first = spec.windows(spec.as_of("2013-03-01")).select[0].key

    def gone(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(is_late=rows["is_late"].where(rows["partition_key"] < first))

    with pytest.raises(DataError, match="the select window holds 0 class"):
        train.run(with_labels(chain.platform, gone), as_of=spec.as_of("2013-03-01"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"segments": ("carrier", "airport")}, "table fct_flights has no column airport"),
        ({"label": {"expected": "has_left"}}, "table fct_labels has no column has_left"),
        ({"features": {"categorical": ("tail",)}}, "table fct_flights has no column tail"),
    ],
)
def test_a_column_that_only_the_spec_knows_is_named(
    chain: Any, spec: UseCase, change: dict[str, Any], named: str
) -> None:
    fields = {
        name: getattr(spec, name).model_copy(update=value) if isinstance(value, dict) else value
        for name, value in change.items()
    }
    platform = dataclasses.replace(chain.platform, spec=spec.model_copy(update=fields))
    with pytest.raises(ConfigError, match=named):
        train.run(platform, as_of=spec.as_of("2013-03-01"))


def test_a_typing_error_in_the_search_space_costs_no_work(chain: Any, spec: UseCase) -> None:
    space = {"num_leafs": IntRange(low=7, high=31)}
    model = spec.model.model_copy(update={"search": SearchPlan(space=space)})
    platform = dataclasses.replace(
        chain.platform,
        spec=spec.model_copy(update={"model": model}),
        lake=None,  # type: ignore[arg-type]  # nothing may be read
    )
    with pytest.raises(ConfigError, match="no parameter 'num_leafs'"):
        train.run(platform, as_of=spec.as_of("2013-03-01"))


# --- experiments ---


def test_an_experiment_is_tracked_and_never_registered(broken: Broken, spec: UseCase) -> None:
    platform = broken()
    settings = ("learning_rate=0.2", "max_rounds=30")
    found = train.run(platform, as_of=spec.as_of("2013-03-01"), settings=settings, is_trial=True)
    assert (found.version, found.trials) == (0, 0)
    assert [version.version for version in platform.registry.versions()] == [1, 2]
    run = mlflow_client(platform).get_run(found.run_id)
    assert run.info.run_name == "trial-2013-03-01" and run.data.tags["stage"] == "trial"
    recorded = json.loads(platform.tracking.document(found.run_id, "spec.json"))
    assert recorded["model"]["parameters"]["learning_rate"] == 0.2
    again = train.run(platform, as_of=spec.as_of("2013-03-01"), settings=settings, is_trial=True)
    assert not again.is_new and again.run_id == found.run_id


def test_an_experiment_as_the_spec_says_is_not_the_candidate(
    broken: Broken, chain: Any, spec: UseCase
) -> None:
    platform = broken()
    found = train.run(platform, as_of=spec.as_of("2013-03-01"), is_trial=True)
    assert found.is_new and found.version == 0 and found.run_id != chain.first.run_id
    assert found.model_digest == chain.first.model_digest


def test_a_change_without_an_experiment_says_where_it_goes(chain: Any, spec: UseCase) -> None:
    with pytest.raises(ConfigError, match=r"without --trial\n(.*\n)*.*flight_delay/spec\.py"):
        train.run(chain.platform, as_of=spec.as_of("2013-03-01"), settings=("seed=8",))


# --- MLflow goes away ---


@pytest.mark.parametrize("call", ["log_batch", "log_artifacts", "finalize_logged_model"])
def test_mlflow_away_in_the_middle_of_a_run_registers_nothing(
    broken: Broken, spec: UseCase, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import requests

    platform = dataclasses.replace(broken(), code_digest="3" * 64)

    def away(*_: Any, **__: Any) -> None:
        raise requests.ConnectionError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(mlflow.MlflowClient, call, away)
        with pytest.raises(TransientError, match="MLflow does not answer"):
            train.run(platform, as_of=spec.as_of("2013-03-01"))
    assert [version.version for version in platform.registry.versions()] == [1, 2]
    again = train.run(platform, as_of=spec.as_of("2013-03-01"))
    assert again.is_new and again.version == 3
    identity = f"tags.`run.identity` = '{again.identity}'"
    runs = mlflow_client(platform).search_runs(["1"], filter_string=identity)
    assert sorted(run.info.status for run in runs) == ["FINISHED", "KILLED"]


def test_a_partition_that_was_not_transformed_is_named(chain: Any, spec: UseCase) -> None:
    with pytest.raises(DataError, match=r"not transformed yet: 2013-03-22 and 3 more"):
        train.run(chain.platform, as_of=spec.as_of("2013-04-10"), is_trial=True)


def test_a_candidate_whose_holdout_is_not_there_is_not_trained(
    broken: Broken, spec: UseCase
) -> None:
    platform = broken()
    as_of = spec.as_of("2013-03-24")
    with pytest.raises(DataError, match=r"(?m)not transformed yet: 2013-03-22$") as refused:
        train.run(platform, as_of=as_of)
    assert "flightline ingest flight_delay 2013-03-22 &&" in refused.value.repair
    assert len(platform.registry.versions()) == 2
    assert train.run(platform, as_of=as_of, is_trial=True, settings=("max_rounds=30",)).is_new


def test_training_without_a_time_and_without_data_is_an_error_to_read(empty: Platform) -> None:
    with pytest.raises((ConfigError, DataError)):
        empty.data_time()
