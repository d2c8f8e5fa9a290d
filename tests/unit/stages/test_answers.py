"""Answers of every kind of problem: how they are logged, read, decided upon and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from toy_answers import BINARY, CLASSES, MULTICLASS, REGRESSION, Toy, ToyModel, toy_spec

from ml.core.digests import frame_digest
from ml.core.errors import DataError
from ml.core.metrics import decided_class
from ml.core.prediction_log import PREDICTION_LOG
from ml.core.prediction_source import Source
from ml.core.problems import ProblemType
from ml.local.models import _shown
from ml.stages import score
from ml.stages.predictions import label_class, read_predictions, told
from ml.stages.report.rows import read_judged
from ml.stages.summary import prediction_summary

NEW = ("lower", "upper", "probabilities", "champion_probabilities", "canary_probabilities")
SCORED = 6  # partitions


@pytest.fixture
def toy(request: pytest.FixtureRequest, tmp_path: Path) -> Toy:
    return small(tmp_path, request.param)


def small(home: Path, problem: ProblemType, **changes: Any) -> Toy:
    """A toy with no more partitions than these tests score, and one more."""
    return Toy(home, toy_spec(problem, **changes), count=SCORED + 1)


def of(*problems: ProblemType) -> Any:
    return pytest.mark.parametrize("toy", problems, indirect=True, ids=[p.value for p in problems])


def log_of(toy: Toy) -> pd.DataFrame:
    """All that was logged, as it is stored."""
    tables = [toy.lake.read("predictions", "revision=2", [p.key]) for p in toy.partitions[:SCORED]]
    return pa.concat_tables(tables).to_pandas()


def answers(toy: Toy) -> pd.DataFrame:
    return read_predictions(toy.platform, toy.partitions[0].key, toy.partitions[SCORED - 1].key)


# --- the log ---


@of(BINARY, MULTICLASS, REGRESSION)
def test_the_log_has_what_the_problem_has(toy: Toy) -> None:
    toy.score(SCORED)
    log = log_of(toy)
    table = toy.lake.read("predictions", "revision=2", [toy.partitions[0].key])
    assert {f.name: f.type for f in table.schema} == {f.name: f.type for f in PREDICTION_LOG}
    filled = {name for name in NEW if log[name].notna().all()}
    assert (
        filled
        == {
            BINARY: set(),
            MULTICLASS: set(NEW[2:]),
            REGRESSION: set(NEW[:2]),
        }[toy.spec.problem]
    )
    assert all(log[name].isna().all() for name in set(NEW) - filled)
    assert set(log["served"]) == {"champion", "canary"}


@of(MULTICLASS)
def test_the_score_of_classes_is_the_likeliest_ones_index(toy: Toy) -> None:
    result = toy.score(SCORED)
    log = log_of(toy)
    for whose in ("", "champion_", "canary_"):
        chances = np.array(log[f"{whose}probabilities"].tolist())
        assert chances.shape == (len(log), 3) and np.allclose(chances.sum(axis=1), 1)
        assert (chances.argmax(axis=1) == log[f"{whose}score"]).all()
    by_canary = log["served"] == "canary"
    expected = log["champion_probabilities"].where(~by_canary, log["canary_probabilities"])
    assert expected.map(list).equals(log["probabilities"].map(list))
    assert result.mean_score is None
    # What was decided, as `predictions` shows it, and not how often a class was the likeliest.
    decided = answers(toy)["decision"].value_counts(normalize=True)
    assert result.decisions == pytest.approx(decided.to_dict())
    likeliest = log["score"].map(lambda index: CLASSES[int(index)]).value_counts(normalize=True)
    assert result.decisions != pytest.approx(likeliest.to_dict())


@of(REGRESSION)
def test_the_interval_is_that_of_who_has_served(toy: Toy) -> None:
    toy.models[2] = ToyModel(toy.models[2].predict)  # has learned none
    toy.score(SCORED)
    log = log_of(toy)
    by_canary = log["served"] == "canary"
    assert by_canary.any() and log.loc[by_canary, "lower"].isna().all()
    served = log[~by_canary]
    assert np.allclose(served["upper"] - served["lower"], 0.2)
    assert (served["lower"] < served["score"]).all()


@of(BINARY, MULTICLASS, REGRESSION)
def test_scoring_again_has_the_same_digests(toy: Toy) -> None:
    assert toy.score(SCORED).digests == toy.score(SCORED).digests


@of(BINARY, MULTICLASS, REGRESSION)
def test_only_columns_that_say_something_are_in_a_digest(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that of a binary log it is what it was before there were others."""
    seen: list[str] = []

    def digest(frame: pd.DataFrame) -> str:
        seen.extend(frame.columns)
        return frame_digest(frame)

    monkeypatch.setattr(score, "frame_digest", digest)
    toy.score(1)
    filled = {BINARY: set(), MULTICLASS: set(NEW[2:]), REGRESSION: set(NEW[:2])}
    assert set(NEW) & set(seen) == filled[toy.spec.problem]
    measured = {"champion_latency_us", "canary_latency_us", "source"}
    assert {f.name for f in PREDICTION_LOG} - set(seen) - set(NEW) == measured


def log_of_one(toy: Toy) -> pd.DataFrame:
    table = toy.lake.read("predictions", "revision=2", [toy.partitions[0].key])
    found: pd.DataFrame = table.to_pandas()
    return found


@of(MULTICLASS)
def test_a_probability_that_moves_no_decision_changes_the_digest(toy: Toy) -> None:
    first = toy.score(1).digests
    sharper = toy.models[1].predict

    def less(rows: pd.DataFrame) -> np.ndarray:
        return sharper(rows) * 0.9 + 0.1 / 3

    toy.models[1] = ToyModel(less)
    toy.models[2] = ToyModel(less)
    assert toy.score(1).digests != first


# --- models that do not answer ---


def none_in(toy: Toy, version: int, place: tuple[Any, ...], *, interval: bool = False) -> None:
    """Have a version give no number there."""
    model = toy.models[version]

    def broken(found: np.ndarray) -> np.ndarray:
        found = found.copy()
        found[place] = np.nan
        return found

    def predict(rows: pd.DataFrame) -> np.ndarray:
        return model.predict(rows) if interval else broken(model.predict(rows))

    def ends(rows: pd.DataFrame) -> np.ndarray:
        found = model.interval(rows)
        assert found is not None
        return broken(found) if interval else found

    toy.models[version] = ToyModel(predict, ends if toy.spec.problem is REGRESSION else None)


FAULTS = [
    (MULTICLASS, (0, 1), False),
    (REGRESSION, (0,), False),
    (REGRESSION, (0, 1), True),
    (BINARY, (0,), False),
]


@pytest.mark.parametrize(("problem", "place", "interval"), FAULTS)
def test_a_canary_that_lacks_any_part_of_an_answer_does_not_serve_it(
    problem: ProblemType, place: tuple[int, ...], interval: bool, tmp_path: Path
) -> None:
    toy = small(tmp_path, problem)
    none_in(toy, 2, place, interval=interval)
    result = toy.score(SCORED)
    first = log_of(toy).groupby("partition_key").head(1)
    assert set(first["served"]) == {"champion"} and set(first["canary_error"]) == {"NotANumber"}
    assert first["canary_score"].isna().all() and first["canary_probabilities"].isna().all()
    assert result.canary_errors == SCORED
    rows = answers(toy)
    assert rows["score"].notna().all()


@pytest.mark.parametrize(("problem", "place", "interval"), FAULTS)
def test_a_champion_that_lacks_any_part_of_an_answer_stops_the_partition(
    problem: ProblemType, place: tuple[int, ...], interval: bool, tmp_path: Path
) -> None:
    toy = small(tmp_path, problem)
    none_in(toy, 1, place, interval=interval)
    with pytest.raises(DataError, match="champion version 1 gave no finite answer to 1 of ") as got:
        toy.score(1)
    assert f"look at the features of {toy.partitions[0].key}, and at the model" in got.value.repair
    assert toy.lake.keys("predictions", "revision=2") == ()


@of(REGRESSION)
def test_a_difference_from_nothing_is_named_with_its_share(toy: Toy) -> None:
    toy.rows.loc[0, "things__last"] = np.nan
    with pytest.raises(DataError) as caught:
        toy.score(1)
    assert caught.value.seen == (
        "champion version 1 gave no finite answer to 1 of 2 rows (50.0%): things__last, which the "
        "answer is made from, is missing in 1 of 2 rows (50.0%)"
    )
    assert caught.value.expected == "a value of things__last in every row of fct_events"
    assert "flightline transform toy 2020-01-06 && " in caught.value.repair


@of(REGRESSION)
@pytest.mark.parametrize("kind", ["seasonal_naive", "lightgbm"])
def test_a_naive_champion_needs_its_own_column(toy: Toy, kind: str) -> None:
    toy.models[1] = ToyModel(lambda rows: np.where(rows.index == 0, np.nan, rows["year_ago"]))
    toy.models[1].kind = kind
    for table in ("fct_events",):
        rows = toy.lake.read("marts", table, [toy.partitions[0].key]).to_pandas()
        rows.loc[0, "year_ago"] = np.nan
        content = pa.Table.from_pandas(rows.drop(columns="partition_key"), preserve_index=False)
        toy.lake.write("marts", table, toy.partitions[0].key, content)
    named = (
        "year_ago, which the answer is made from" if kind == "seasonal_naive" else "rows (50.0%)"
    )
    with pytest.raises(DataError) as caught:
        toy.score(1)
    assert named in caught.value.seen
    assert ("year_ago" in caught.value.seen) == (kind == "seasonal_naive")


@of(MULTICLASS, REGRESSION)
@pytest.mark.parametrize("version", [1, 2])
def test_an_answer_of_another_shape_is_no_answer(toy: Toy, version: int) -> None:
    toy.models[version] = ToyModel(lambda rows: np.full((len(rows), 2), 0.5))
    if version == 2:
        toy.score(1)
        assert set(log_of_one(toy)["canary_error"]) == {"DataError"}
        return
    with pytest.raises(DataError, match=r"gave answers of shape \(\d+, 2\)") as caught:
        toy.score(1)
    if toy.spec.problem is MULTICLASS:
        assert "a probability for each of low, middle, high" in caught.value.expected


# --- predictions ---


@of(BINARY, MULTICLASS, REGRESSION)
def test_a_table_of_predictions_has_what_the_problem_has(toy: Toy) -> None:
    toy.score(SCORED)
    rows = answers(toy)
    chances = [f"{whose}p_{name}" for whose in ("", "champion_", "canary_") for name in CLASSES]
    wanted = {
        BINARY: {"decision"},
        MULTICLASS: {"decision", "probability", "y_class", *chances},
        REGRESSION: {"lower", "upper"},
    }
    every = set().union(*wanted.values()) | set(NEW)
    assert every & set(rows.columns) == wanted[toy.spec.problem]
    assert rows["cost"].notna().all() and not {"probabilities", "features"} & set(rows.columns)


@of(MULTICLASS)
def test_the_class_is_decided_by_what_it_costs(toy: Toy, tmp_path: Path) -> None:
    toy.score(SCORED)
    rows = answers(toy)
    chances = rows[[f"p_{name}" for name in CLASSES]].to_numpy()
    costs = np.array(toy.spec.cost.costs)  # type: ignore[union-attr]  # it is a matrix
    cheapest = (chances @ costs).argmin(axis=1)
    assert (rows["decision"] == np.array(CLASSES)[cheapest]).all()
    assert (cheapest != chances.argmax(axis=1)).any(), "otherwise costs would change nothing"
    assert np.allclose(rows["probability"], chances[np.arange(len(rows)), cheapest])
    label = rows["y"].astype(int).to_numpy()
    assert (rows["y_class"] == np.array(CLASSES)[label]).all()
    assert np.allclose(rows["cost"], costs[label, cheapest])
    free = small(tmp_path / "free", MULTICLASS, cost=None)
    free.score(1)
    rows = read_predictions(free.platform)
    likeliest = decided_class(rows[[f"p_{name}" for name in CLASSES]].to_numpy())
    assert (rows["decision"] == np.array(CLASSES)[likeliest]).all() and "cost" not in rows


def test_a_label_that_is_called_a_class_is_not_called_so_twice() -> None:
    label = toy_spec(MULTICLASS).label
    assert label_class(label) == "y_class"
    assert label_class(label.model_copy(update={"column": "y_class"})) == "y_class_name"


@of(REGRESSION)
def test_values_cost_what_they_are_off(toy: Toy) -> None:
    toy.score(SCORED)
    rows = answers(toy)
    off = rows["score"] - rows["y"]
    assert np.allclose(rows["cost"], np.where(off > 0, off, -3 * off))


@of(BINARY, MULTICLASS, REGRESSION)
def test_labels_that_are_not_known_yet_cost_nothing_yet(toy: Toy) -> None:
    toy.score()
    for key in toy.spec.calendar.between(toy.partitions[-1].key, toy.spec.coverage.last):
        toy.lake.remove("raw", "events", key.key)
    rows = read_predictions(toy.platform, toy.partitions[-1].key)
    assert rows["y"].isna().all() and rows["cost"].isna().all()
    assert toy.spec.problem is not MULTICLASS or rows["y_class"].isna().all()
    assert told(toy.spec, rows).splitlines()[-1] == f"0 of {len(rows)} labels known"


@of(REGRESSION)
def test_inputs_are_as_the_model_saw_them(toy: Toy) -> None:
    toy.score(1)
    rows = read_predictions(toy.platform, inputs=["things__last", "year_ago"])
    truth = toy.rows.set_index("event_id").loc[rows["event_id"]]
    for name in ("things__last", "year_ago"):
        assert np.allclose(rows[name], truth[name])


# --- a log from before these columns ---


def make_old(toy: Toy, key: str) -> None:
    """Have a partition's log as it was written before."""
    log = toy.lake.read("predictions", "revision=2", [key]).drop_columns([*NEW, "partition_key"])
    toy.lake.write("predictions", "revision=2", key, log)


@of(BINARY, REGRESSION)
@pytest.mark.parametrize("old", [(0,), (SCORED - 1,), tuple(range(SCORED))], ids=str)
def test_an_old_log_is_read_beside_a_new_one(toy: Toy, old: tuple[int, ...]) -> None:
    toy.score(SCORED)
    new = answers(toy)
    for place in old:
        make_old(toy, toy.partitions[place].key)
    rows = answers(toy)
    ends = [name for name in ("lower", "upper") if name in new]
    assert rows.drop(columns=ends, errors="ignore").equals(new.drop(columns=ends))
    without = new["partition_key"].isin([toy.partitions[place].key for place in old])
    if toy.spec.problem is REGRESSION and len(old) < SCORED:
        assert rows.loc[without, ends].isna().all(axis=None)
        assert rows.loc[~without, ends].equals(new.loc[~without, ends])
    else:
        assert not set(ends) & set(rows.columns)
    assert told(toy.spec, rows)


@of(MULTICLASS)
def test_a_log_without_probabilities_has_no_decision(toy: Toy) -> None:
    """A use case that became one of classes; nothing can be made up for it."""
    toy.score(2)
    make_old(toy, toy.partitions[0].key)
    rows = read_predictions(toy.platform, toy.partitions[0].key, toy.partitions[1].key)
    is_old = rows["partition_key"] == toy.partitions[0].key
    assert rows.loc[is_old, ["decision", "probability", "cost"]].isna().all(axis=None)
    assert rows.loc[~is_old, ["decision", "probability", "cost"]].notna().all(axis=None)


# --- in words, and on the screen ---


@of(BINARY, MULTICLASS, REGRESSION)
def test_the_summary_has_words_that_fit_the_problem(toy: Toy) -> None:
    toy.score(SCORED)
    rows = answers(toy)
    text = told(toy.spec, rows)
    assert ("to act on, score above 0.25: " in text) == (toy.spec.problem is BINARY)
    assert ("mean score 0." in text) == (toy.spec.problem is BINARY)
    first = text.splitlines()[0]
    if toy.spec.problem is MULTICLASS:
        share = (rows["decision"] == "high").mean()
        assert f"high {share:.1%}" in first
        right = (rows["decision"] == rows["y_class"]).mean()
        assert f"; {right:.1%} of them decided right; cost " in text
    if toy.spec.problem is REGRESSION:
        mean, lower = rows["score"].mean(), rows["lower"].mean()
        assert f"mean {mean:.3f}, interval on average {lower:.3f} to " in first
        held = rows["y"].between(rows["lower"], rows["upper"]).mean()
        assert f"{held:.1%} of them in the interval; cost " in text


@of(BINARY, MULTICLASS, REGRESSION)
def test_the_screen_has_the_columns_that_fit(toy: Toy) -> None:
    toy.score(SCORED)
    found = answers(toy)
    shown = _shown(toy.spec, pa.Table.from_pandas(found, preserve_index=False), False)
    expected = {
        BINARY: ["score", "champion", "canary", "decision", "y"],
        MULTICLASS: ["decision", "probability", "champion", "canary", "y_class"],
        REGRESSION: ["score", "lower", "upper", "champion", "canary", "y"],
    }[toy.spec.problem]
    assert shown.column_names == ["event_id", "shop", *expected]
    if toy.spec.problem is MULTICLASS:
        named = found["canary_score"].map(lambda index: CLASSES[int(index)])
        assert shown["canary"].to_pylist() == named.to_list()


@of(BINARY, MULTICLASS, REGRESSION)
def test_the_status_says_what_each_model_said(toy: Toy) -> None:
    toy.score(SCORED)
    log = log_of(toy)
    found = prediction_summary(toy.spec, log, key="2020-01-01", revision=2)
    if toy.spec.problem is MULTICLASS:
        share = (log["champion_score"] == 2).mean()
        assert found.mean_scores == {} and f"high {share:.1%}" in found.answers
        assert (
            found.answers.startswith("likeliest class: champion ") and "; canary " in found.answers
        )
    else:
        mean = log["champion_score"].mean()
        assert found.answers.startswith(f"mean score champion {mean:.3f}, canary ")
        assert found.shares == {}


@pytest.mark.parametrize("end", ["first", "last"])
def test_a_report_of_one_end_that_was_not_scored_says_what_there_is(
    tmp_path: Path, end: str
) -> None:
    toy = Toy(tmp_path, toy_spec(BINARY), count=4)
    score.run(toy.platform, partitions=toy.partitions[1:3], source=Source.REPLAY)
    key = toy.partitions[0 if end == "last" else 3].key
    with pytest.raises(DataError, match=f"no predictions of {key}") as caught:
        read_judged(toy.platform, **{"first": "", "last": ""} | {end: key})
    assert caught.value.expected.startswith(f"between {toy.partitions[1].key} and")
