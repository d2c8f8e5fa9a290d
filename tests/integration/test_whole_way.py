"""A bad delivery, from the stop to the marts: in the end nothing shows that it was ever bad."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults import DAY, Source, bad, files, listed
from support import platform_at

from ml.core.errors import DataError
from ml.core.spec import UseCase
from ml.stages import materialize, quarantine, transform

pytestmark = pytest.mark.xdist_group("source")
BEFORE = "2013-01-04"


def test_stop_list_fix_replay_and_the_same_marts(
    tmp_path: Path, spec: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, mended = (platform_at(tmp_path / name, spec) for name in ("good", "mended"))
    days = spec.partitions(BEFORE, DAY)
    Source(good, monkeypatch)(None, BEFORE, DAY)
    transform.run(good, partitions=days)

    source = Source(mended, monkeypatch)
    source(None, BEFORE)
    transform.run(mended, partitions=days[:1])
    materialize.run(mended, partitions=days[:1])
    state = files(tmp_path / "mended")
    with pytest.raises(DataError, match="21 of 720 rows of flights 2013-01-05 are bad"):
        source(bad(21))
    stopped = {name for name in files(tmp_path / "mended") if "/stopped/" in name}
    now = files(tmp_path / "mended")
    assert {name: now[name] for name in now.keys() - stopped} == state and stopped
    assert "rejected" in "; ".join(listed(mended))
    with pytest.raises(DataError, match="flights not ingested yet: 2013-01-05"):
        transform.run(mended, partitions=days[1:])

    source.changes = {}
    quarantine.replay(mended)
    transform.run(mended, partitions=days[1:])
    assert listed(mended) == []
    assert files(tmp_path / "mended") == files(tmp_path / "good")
