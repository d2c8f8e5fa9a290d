"""What is special about `low_visibility`: labels of the next day, and days that are not there."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support import copy_home, platform_at

from ml.core.evidence import ContractEvidence
from ml.core.gates import Verdict, contract_gate
from ml.core.ports import Platform
from ml.stages import ingest, transform
from ml.use_cases import available, load_spec

SLUG = "low_visibility"
FIRST, LOST, LAST = "2013-01-02", "2013-01-05", "2013-01-08"
pytestmark = [
    pytest.mark.xdist_group(SLUG),
    pytest.mark.skipif(SLUG not in available(), reason="the use case was removed"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(SLUG) / "home"


@pytest.fixture(scope="module")
def built(home: Path) -> Platform:
    """A week of which the fourth day never came."""
    spec = load_spec(SLUG)
    platform = platform_at(home, spec)
    days = [day for day in spec.partitions(FIRST, LAST) if day.key != LOST]
    ingest.run(platform, partitions=days)
    transform.run(platform, partitions=days)
    return platform


def read(platform: Platform, area: str, name: str) -> pd.DataFrame:
    return platform.lake.read(area, name).to_pandas()


def test_every_hour_expects_a_label_and_a_lost_day_lacks_them(built: Platform) -> None:
    """Otherwise the gate on the labels of the holdout would not see the loss."""
    spec = built.spec
    assert not spec.label.expected
    weather = read(built, "raw", "weather").set_index(["origin", "time_hour"])["visib"]
    rows = read(built, "marts", "fct_forecasts").merge(read(built, "marts", "fct_labels"))
    target = rows["decided_at"] + pd.Timedelta(hours=6)
    seen = weather.reindex(pd.MultiIndex.from_arrays([rows["origin"], target])).to_numpy()
    assert (rows["is_low"].isna() == pd.isna(seen)).all()
    known = rows["is_low"].notna()
    assert (rows.loc[known, "is_low"] == (seen[known] < 3)).all()
    lost = target.dt.strftime("%Y-%m-%d") == LOST
    assert lost.sum() == 18 and not known[lost].any()  # of the day before; its own are not asked
    closed = rows["partition_key"] < LAST
    found = ContractEvidence("", "", (), int(closed.sum()), int((closed & known).sum()), 0)
    limit = spec.gates.minimum_label_coverage
    assert contract_gate(found, minimum_label_coverage=limit).verdict == Verdict.INVALID


def test_a_day_reads_its_neighbours_and_no_other_file(
    built: Platform, home: Path, tmp_path: Path
) -> None:
    """The cost of a day must not grow with the history, so a file far away may be unreadable."""
    platform = platform_at(copy_home(home, tmp_path / "home"), built.spec)
    tables = [
        ("marts", "fct_forecasts"),
        ("marts", "fct_labels"),
        ("features", "feat_airport_weather"),
    ]
    before = [platform.lake.digest(area, name, None) for area, name in tables]
    raw = tmp_path / "home/lake/raw/low_visibility/weather"
    [far] = raw.glob("partition_key=2013-01-03/*.parquet")
    far.chmod(0o644)
    far.write_bytes(b"no Parquet")
    transform.run(platform, partitions=platform.spec.partitions(LAST, LAST))
    assert [platform.lake.digest(area, name, None) for area, name in tables] == before
