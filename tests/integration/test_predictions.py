"""Predictions as a table: what stands in it, how it is asked for, what is said when it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import DAYS, log_of
from typer.testing import CliRunner

from ml import settings as settings_module
from ml.adapters.queries import select
from ml.cli import app
from ml.core.errors import ConfigError, DataError, OutOfCoverage
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.settings import Settings
from ml.stages.predictions import read_predictions, told

pytestmark = pytest.mark.xdist_group("chain")
Broken = Callable[..., Platform]
FIRST, LAST = DAYS


@pytest.fixture
def rows(chain: Any) -> pd.DataFrame:
    return read_predictions(chain.platform, *DAYS)


def test_every_prediction_is_a_row_with_its_event_and_its_answer(
    chain: Any, rows: pd.DataFrame
) -> None:
    log = log_of(chain.platform, 2).set_index("key")
    assert len(rows) == len(log) and rows["flight_id"].is_unique
    again = rows.set_index("flight_id")
    for name in ("served", "score", "champion_score", "canary_score", "revision", "request_id"):
        assert again[name].equals(log.loc[again.index, name].astype(again[name].dtype)), name
    events = chain.platform.lake.read("marts", "fct_flights", DAYS).to_pandas()
    events = events.set_index("flight_id").loc[again.index]
    for name in ("carrier", "origin", "destination", "scheduled_hour", "decided_at"):
        assert again[name].equals(events[name]), name
    assert (
        rows["flight_id"].iloc[0]
        == rows.sort_values(["decided_at", "flight_id"])["flight_id"].iloc[0]
    )


def test_the_outcome_stands_beside_the_answer(chain: Any, rows: pd.DataFrame) -> None:
    labels = chain.platform.lake.read("marts", "fct_labels", DAYS).to_pandas()
    found = rows.merge(labels, on="flight_id", suffixes=("", "_there"))
    known = found["is_late_there"].notna() & (
        found["label_known_at_there"] <= chain.platform.data_time()
    )
    assert known.sum() > 1_000
    assert found["is_late"].notna().equals(known)
    assert (found.loc[known, "is_late"] == found.loc[known, "is_late_there"]).all()


def test_what_to_do_follows_from_the_cost_model(rows: pd.DataFrame, spec: UseCase) -> None:
    assert spec.cost is not None
    acts = rows["score"] > spec.cost.threshold
    assert (rows["decision"] == np.where(acts, "act", "wait")).all() and 0 < acts.mean() < 1
    late = rows["is_late"].astype(float)
    paid = np.where(acts, 1.0, spec.cost.missed * late)
    assert np.array_equal(rows["cost"], np.where(late.isna(), np.nan, paid), equal_nan=True)


def test_a_label_that_became_known_after_data_time_is_not_known_yet(
    broken: Broken, rows: pd.DataFrame
) -> None:
    """The lake may know more than the platform's present: a year is replayed."""
    platform = broken()
    platform.lake.remove("raw", "flights", LAST)
    time = platform.data_time()
    found = read_predictions(platform, *DAYS)
    later = rows["label_known_at"] > time
    assert later.any() and found.loc[later, ["is_late", "arrival_delay_min", "cost"]].isna().all(
        axis=None
    )
    assert found.loc[~later, "is_late"].equals(rows.loc[~later, "is_late"])


def test_by_default_it_is_the_newest_scored_partition(chain: Any) -> None:
    found = read_predictions(chain.platform)
    assert set(found["partition_key"]) == {LAST}


def test_only_the_newest_answer_of_a_partition_counts(broken: Broken, rows: pd.DataFrame) -> None:
    platform = broken()
    log = platform.lake.read("predictions", "revision=2", [FIRST]).drop_columns(["partition_key"])
    revision = log.schema.get_field_index("revision")
    old = log.set_column(revision, log.schema.field(revision), [np.ones(len(log), "int32")])
    platform.lake.write("predictions", "revision=1", FIRST, old)
    assert read_predictions(platform, *DAYS).equals(rows)
    every = read_predictions(platform, *DAYS, all_revisions=True)
    assert every.groupby(["partition_key", "revision"]).size().to_dict() == {
        (FIRST, 1): len(log),
        (FIRST, 2): len(log),
        (LAST, 2): len(rows) - len(log),
    }


def test_a_date_without_predictions_is_told_with_what_there_is(chain: Any) -> None:
    with pytest.raises(DataError, match="no predictions of 2013-03-01") as caught:
        read_predictions(chain.platform, "2013-03-01")
    assert f"between {FIRST} and {LAST}, where 2 partitions are scored" in str(caught.value)
    assert "flightline score flight_delay 2013-03-01" in caught.value.repair
    with pytest.raises(DataError, match="no predictions of 2013-03-01 to 2013-03-09"):
        read_predictions(chain.platform, "2013-03-01", "2013-03-09")


@pytest.mark.parametrize(
    ("key", "error"), [("2013-3-1", ConfigError), ("2014-03-01", OutOfCoverage)]
)
def test_a_wrong_date_is_an_error_of_its_own(chain: Any, key: str, error: type) -> None:
    with pytest.raises(error):
        read_predictions(chain.platform, key)


def test_before_anything_was_scored_it_is_told(empty: Platform) -> None:
    for first in ("", FIRST):
        with pytest.raises(DataError, match="there are no predictions") as caught:
            read_predictions(empty, first)
        assert "there is none yet" in caught.value.expected


def test_a_range_has_a_beginning(chain: Any) -> None:
    with pytest.raises(ConfigError, match=f"a last partition, {LAST}, without a first"):
        read_predictions(chain.platform, last=LAST)


def test_the_summary_says_who_answered_and_what_became_known(
    rows: pd.DataFrame, spec: UseCase
) -> None:
    served, acts, known = told(spec, rows).splitlines()
    counts = rows["served"].value_counts()
    assert served.startswith(f"{len(rows):,} predictions of {FIRST} to {LAST} (release 2): ")
    assert f"{counts['champion']:,} by the champion, {counts['canary']:,} by the canary" in served
    assert acts.endswith(f": {(rows['decision'] == 'act').sum():,}")
    assert known.startswith(f"{rows['is_late'].notna().sum():,} of {len(rows):,} labels known")
    assert told(spec, rows.head(0)) == "no prediction meets the condition"


# --- the command ---


@pytest.fixture
def command(chain: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    monkeypatch.setenv("MLOPS_HOME", str(chain.home))
    settings_module.settings.cache_clear()

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["predictions", "flight_delay", *arguments])

    yield run
    settings_module.settings.cache_clear()


def test_the_table_on_the_screen_is_short_and_summed_up(
    command: Callable[..., Any], rows: pd.DataFrame
) -> None:
    done = command()
    last = rows[rows["partition_key"] == LAST]
    assert done.exit_code == 0, done.output
    names, *lines = done.output.splitlines()
    columns = ["score", "champion", "canary", "decision", "is_late"]
    assert names.split() == ["flight_id", "carrier", "origin", *columns]
    assert max(len(line.rstrip()) for line in [names, *lines[:20]]) <= 80
    assert lines[0].split()[0] == last["flight_id"].iloc[0]
    assert lines[20].startswith(f"… {len(last):,} in all")
    assert lines[21].startswith(f"{len(last):,} predictions of {LAST} (release 2)")


def test_a_condition_chooses_rows(command: Callable[..., Any], rows: pd.DataFrame) -> None:
    where = "carrier = 'UA' and score > 0.4"
    done = command("--date", FIRST, "--to", LAST, "--where", where, "--limit", "3")
    chosen = rows[(rows["carrier"] == "UA") & (rows["score"] > 0.4)]
    assert f"{len(chosen):,} predictions of" in done.output
    assert [line.split()[1] for line in done.output.splitlines()[1:4]] == ["UA"] * 3


def test_a_query_of_ones_own(command: Callable[..., Any], rows: pd.DataFrame) -> None:
    sql = "select origin, count(*) as flights from predictions group by origin order by origin"
    done = command("--date", FIRST, "--to", LAST, "--sql", sql)
    counts = rows["origin"].value_counts().sort_index()
    assert [line.split() for line in done.output.splitlines()] == [
        ["origin", "flights"],
        *([name, str(count)] for name, count in counts.items()),
    ]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_has_all_rows_and_columns(
    command: Callable[..., Any], rows: pd.DataFrame, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"found.{suffix}"
    done = command("--date", FIRST, "--to", LAST, "-o", str(path))
    assert f"wrote {len(rows):,} rows" in done.output
    found = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
    assert list(found.columns) == list(rows.columns)
    assert np.allclose(found["score"], rows["score"])
    assert found["is_late"].isna().sum() == rows["is_late"].isna().sum()


@pytest.mark.parametrize(
    ("arguments", "seen", "expected"),
    [
        (["--where", "nope > 1"], 'column "nope" not found', "carrier"),
        (["--sql", "selec 1"], 'syntax error at or near "selec"; LINE 1: selec 1', "predictions"),
        (["--sql", "select * from flights"], "Table with name flights does not exist", "score"),
        (["--sql", "drop table predictions"], "not one query", "select … from predictions"),
        (["--where", "1=1; select 2"], "not one query", "select … from predictions"),
        (["--sql", "select 1", "--where", "score > 1"], "--where and --sql", "one of them"),
        (["-o", "found.xlsx"], "cannot write found.xlsx", "a .csv or a .parquet file"),
        (["-o", "nope/found.csv"], "cannot write nope/found.csv", "a folder that exists"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_wrong_question_is_told_in_a_line(
    command: Callable[..., Any], arguments: list[str], seen: str, expected: str
) -> None:
    error = command(*arguments).exception
    assert isinstance(error, ConfigError)
    assert seen in error.seen and expected in error.expected
    assert "\n" not in error.seen


def test_a_query_reaches_no_file(rows: pd.DataFrame, tmp_path: Path) -> None:
    """It is somebody's text: it may come from a page or from a colleague."""
    import pyarrow as pa

    path = tmp_path / "secret.csv"
    path.write_text("a\n1\n")
    table = pa.Table.from_pandas(rows.head(3), preserve_index=False)
    for sql in (f"select * from read_csv('{path}')", f"select * from '{path}'"):
        with pytest.raises(ConfigError, match="disabled by configuration"):
            select(table, sql, name="predictions", settings=Settings(home=tmp_path))


def test_a_home_without_models_is_only_looked_at(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    settings_module.settings.cache_clear()
    error = command().exception
    assert isinstance(error, DataError) and "nothing of flight_delay was ever trained" in error.seen
    assert not (tmp_path / "home").exists()


def test_a_notebook_gets_the_same_rows(command: Callable[..., Any], rows: pd.DataFrame) -> None:
    from ml.notebook import predictions

    assert predictions("flight_delay", FIRST, LAST).equals(rows)
