"""What a person on call needs works on a disk that is full or read-only; the rest says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ill_disk import CLOSED, FULL, OLD_LOG, on_ill_disk, own_disks

from ml.use_cases import available

pytestmark = pytest.mark.xdist_group("ill disks")
SLUGS = available()
_READING = (
    ("status",),
    ("status", "--json"),
    ("logs", "scheduler"),
    ("alerts",),
    ("list",),
    *[("quarantine", "list", slug) for slug in SLUGS[:1]],
)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], dict[str, Any]]:
    """What commands say, one after the other, where the home's disk is read-only."""
    base = tmp_path_factory.mktemp("closed")
    _require_disks()
    names = [*_READING, ("doctor",), ("up",), ("backup",), ("down",)]
    arguments = {("backup",): [str(base / "home.tar.zst")]}
    found = on_ill_disk(base, CLOSED, *([*name, *arguments.get(name, [])] for name in names))
    return dict(zip(names, found, strict=True))


def _require_disks() -> None:
    if not own_disks():
        pytest.skip("NOT TESTED: a disk that is full or read-only; none can be mounted here")


@pytest.mark.parametrize("argv", _READING, ids=" ".join)
def test_a_read_only_home_can_be_asked(
    closed: dict[tuple[str, ...], dict[str, Any]], argv: tuple[str, ...]
) -> None:
    assert closed[argv]["code"] == 0, closed[argv]["output"]


def test_what_is_told_is_what_lies_on_the_read_only_disk(
    closed: dict[tuple[str, ...], dict[str, Any]],
) -> None:
    assert "scheduler running" in closed["status",]["output"]
    assert "out of cheese" in closed["logs", "scheduler"]["output"]
    assert "no cheese" in closed["alerts",]["output"]


def test_doctor_names_the_read_only_home_and_makes_the_other_checks(
    closed: dict[tuple[str, ...], dict[str, Any]],
) -> None:
    told = closed["doctor",]["output"]
    assert closed["doctor",]["code"] == 2 and "/home is not writable" in told
    for check in ("permissions", "state", "disk", "locks", "ports"):
        assert f"{check} ok" in told or f"{check} missing" in told


def test_a_start_on_a_read_only_disk_is_refused_and_stops_nothing(
    closed: dict[tuple[str, ...], dict[str, Any]],
) -> None:
    assert closed["up",]["code"] == 2
    assert "home: Read-only file system" in closed["up",]["output"]
    assert "mend owner, permissions or mount" in closed["up",]["output"]
    assert closed["up",]["living"]


def test_a_read_only_home_is_saved_elsewhere(
    closed: dict[tuple[str, ...], dict[str, Any]],
) -> None:
    assert closed["backup",]["code"] == 0, closed["backup",]["output"]


def test_down_stops_what_runs_on_a_read_only_disk(
    closed: dict[tuple[str, ...], dict[str, Any]],
) -> None:
    stopped = closed["down",]
    assert (stopped["code"], stopped["living"]) == (0, 0), stopped["output"]
    assert "not noted" in stopped["output"] and "stopped 2 processes" in stopped["output"]


def test_down_stops_what_runs_on_a_full_disk(tmp_path: Path) -> None:
    _require_disks()
    (stopped,) = on_ill_disk(tmp_path, FULL, ("down",))
    assert (stopped["code"], stopped["living"]) == (0, 0), stopped["output"]
    assert "No space left on device" in stopped["output"]
    assert "stopped 2 processes" in stopped["output"]


def test_a_start_on_a_full_disk_may_be_tried_again(tmp_path: Path) -> None:
    _require_disks()
    (refused,) = on_ill_disk(tmp_path, FULL, ("up",))
    assert refused["code"] == 75 and "no room for" in refused["output"], refused["output"]
    assert refused["living"] == 0


def test_gc_makes_room_on_a_full_disk(tmp_path: Path) -> None:
    _require_disks()
    listed, done, again = on_ill_disk(
        tmp_path, FULL, ("gc", "--dry-run"), ("gc", "--yes"), ("gc", "--yes")
    )
    assert [one["code"] for one in (listed, done, again)] == [0, 0, 0], done["output"]
    assert "component and dbt logs 1" in listed["output"] and "deleted 1" in done["output"]
    assert "nothing to delete" in again["output"], OLD_LOG
