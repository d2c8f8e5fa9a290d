"""Killed at any write, or out of disk, and run again: every stage ends as if nothing had been.

What "ends as" means, and what may differ, is in `home_snapshot`. The kills are drawn by a seed,
the day in UTC, so that each day hits others: KILLSSEED repeats those of a failure, whose output
tells it, and KILLS asks for more of them for each step.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest
from home_snapshot import differences, snapshot
from ill_disk import own_disks
from kills import SLUG, STORY, Driver, Ran, Step, Story

from ml.use_cases import available

SEED = int(os.environ.get("KILLSSEED") or f"{datetime.now(UTC):%Y%m%d}")
KILLS = int(os.environ.get("KILLS", "2"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the story is told before the first test
    pytest.mark.xdist_group("kills"),
    pytest.mark.skipif(SLUG not in available(), reason="the use case was removed"),
]
steps = pytest.mark.parametrize("step", STORY, ids=lambda step: step.name.replace(" ", "-"))
STEPS = {step.name: step for step in STORY}


@pytest.fixture(autouse=True)
def _told_seed() -> None:
    """Stands in the output of whatever fails."""
    print(f"to repeat these kills: KILLSSEED={SEED}")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    driver = Driver(tmp_path_factory.mktemp("kills"), own_disks())
    try:
        found = Story(driver)
        found.tell()
        yield found
    finally:
        driver.close()


def draws(step: Step, number: int, highest: int) -> list[int]:
    """So many of 1 … highest, one from each part of equal length."""
    drawn = random.Random(f"{SEED} {step.name}")
    bounds = [1 + highest * i // number for i in range(number + 1)]
    return [drawn.randrange(low, max(high, low + 1)) for low, high in pairwise(bounds)]


def killed(story: Story, step: Step, write: int) -> Ran:
    ran = story.driver.run(*step.argv, write=write)
    assert ran.signal == signal.SIGKILL, f"seed {SEED}, write {write}: {ran.output}"
    print(f"seed {SEED}: {step.name} died at write {write}: {ran.struck}")
    return ran


@steps
def test_killed_at_a_write_and_run_again_it_ends_the_same(story: Story, step: Step) -> None:
    for write in draws(step, KILLS, story.writes[step.name]):
        story.go_to(step)
        died = killed(story, step, write)
        story.driver.ends(*step.argv)
        assert story.wrong(step) == [], f"seed {SEED}: killed at write {write}, {died.struck}"


@pytest.mark.parametrize("name", ["transform", "train"])
def test_killed_from_outside_at_any_time_it_ends_the_same(story: Story, name: str) -> None:
    """DuckDB, LightGBM and the file system do not count their writes: a clock hits them, too."""
    step = STEPS[name]
    after_s = story.strike(step, random.Random(f"{SEED} {name}"))
    story.driver.ends(*step.argv)
    assert story.wrong(step) == [], f"seed {SEED}: killed after {after_s} s"


@pytest.mark.parametrize("name", ["ingest a correction", "train a challenger"])
def test_killed_again_and_again_it_ends_the_same_and_leaves_nothing(
    story: Story, name: str
) -> None:
    step = STEPS[name]
    story.go_to(step)
    for write in draws(step, 3, story.writes[name] // 2):
        killed(story, step, write)
    story.driver.ends(*step.argv)
    assert story.wrong(step) == []


# --- the comparison itself ---


def _sql(path: str, statement: str) -> Callable[[Path], None]:
    def plant(home: Path) -> None:
        with closing(sqlite3.connect(home / path)) as connection, connection:
            assert connection.execute(statement).rowcount == 1

    return plant


def _mlflow(statement: str) -> Callable[[Path], None]:
    return _sql("mlflow/mlflow.db", statement)


def _less(pattern: str) -> Callable[[Path], None]:
    def plant(home: Path) -> None:
        max(home.glob(pattern)).unlink()

    return plant


def _other(pattern: str) -> Callable[[Path], None]:
    def plant(home: Path) -> None:
        with max(home.glob(pattern)).open("ab") as file:
            file.write(b"\n")

    return plant


def _table(home: Path) -> None:
    with duckdb.connect(str(home / "warehouse" / f"{SLUG}.duckdb")) as connection:
        connection.execute(
            "update feat_airport_weather set visibility_mi = 9 where event_at ="
            " (select max(event_at) from feat_airport_weather) and origin = 'JFK'"
        )


def _watermark(home: Path) -> None:
    """The newest interval is gone."""
    from feast.protos.feast.core.FeatureView_pb2 import FeatureView

    with closing(sqlite3.connect(home / "feast" / "registry.sqlite")) as connection, connection:
        (content,) = connection.execute("select feature_view_proto from feature_views").fetchone()
        view = FeatureView.FromString(content)
        del view.meta.materialization_intervals[1:]
        found = (view.SerializeToString(),)
        connection.execute("update feature_views set feature_view_proto = ?", found)


_LAST_RUN = "(select run_uuid from runs where name = 'train-2013-01-19')"
_ONE_ROW = "where rowid = (select max(rowid) from"
PLANTS = {
    "lake: raw/": _less("lake/raw/*/*/*/data.parquet"),
    "lake: quarantine/": _less("lake/quarantine/*/*/*/data.parquet"),
    "lake: receipts/": _less("lake/receipts/*/*/*/data.parquet"),
    "lake: features/": _less("lake/features/*/*/*/data.parquet"),
    "lake: marts/": _less("lake/marts/*/*/*/data.parquet"),
    "lake: training_sets/": _other("lake/training_sets/*/*/data.parquet"),
    "lake: predictions/": _less("lake/predictions/*/*/*/data.parquet"),
    "files: ": lambda home: (home / "lake" / ".data.parquet.1.0").touch(),
    "warehouse: main.feat_airport_weather": _table,
    "online: ": _sql(
        f"feast/{SLUG}.online.sqlite",
        f"update {SLUG}_airport_weather set event_ts = 0 {_ONE_ROW} {SLUG}_airport_weather)",
    ),
    "features: view ": _watermark,
    "runs: still open": _mlflow(f"update runs set status = 'RUNNING' where run_uuid = {_LAST_RUN}"),
    "runs: names": _mlflow(f"update runs set name = 'train-x' where run_uuid = {_LAST_RUN}"),
    "runs: train-2013-01-19 params": _mlflow(
        f"update params set value = '5' where key = 'features' and run_uuid = {_LAST_RUN}"
    ),
    "runs: train-2013-01-19 metrics": _mlflow(
        f"update metrics set value = 0.5 where key = 'select/auc' and run_uuid = {_LAST_RUN}"
    ),
    "runs: train-2013-01-19 tags": _mlflow(
        f"update tags set value = 'x' where key = 'run.identity' and run_uuid = {_LAST_RUN}"
    ),
    "models: ": _mlflow(f"delete from logged_model_tags {_ONE_ROW} logged_model_tags)"),
    "artifacts: model ": _other("mlflow/artifacts/*/models/*/artifacts/data/files/*"),
    "artifacts: train-": _less("mlflow/artifacts/*/*/artifacts/validation/evidence.json"),
    "registry: version 2": _mlflow("update model_versions set description = 'x' where version = 2"),
    "registry: version 2 tag": _mlflow(
        "delete from model_version_tags where version = 2 and key = 'release.status'"
    ),
    "registry: registered_model_aliases": _mlflow(
        "update registered_model_aliases set version = 2 where alias = 'champion'"
    ),
    "registry: registered_model_tags": _mlflow(
        "delete from registered_model_tags where key = 'release.revision.0003'"
    ),
}


@pytest.mark.parametrize("where", PLANTS)
def test_the_comparison_sees_a_planted_difference(story: Story, where: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    story.end(home)
    before = snapshot(home, SLUG)
    PLANTS[where](home)
    found = differences(before, snapshot(home, SLUG))
    assert any(line.startswith(where) for line in found), found
    shutil.rmtree(home)


# --- a disk that is full or closed ---

_LAST = {step.stage: step for step in STORY}  # of each stage
each_stage = pytest.mark.parametrize("step", _LAST.values(), ids=_LAST)


@pytest.fixture
def disk(story: Story) -> Iterator[Callable[..., None]]:
    """Puts the home onto a disk of its own, of which nothing is left afterwards."""
    driver, home = story.driver, str(story.driver.home)
    if not driver.has_own_disks:
        pytest.skip("NOT TESTED: a full disk; none can be mounted here")
    shutil.rmtree(home, ignore_errors=True)
    driver.home.mkdir()
    driver.call("mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", home)

    def prepare(step: Step) -> None:
        story.deliver(step)
        if (saved := story.saved(step)).exists():
            driver.call("cp", "-a", f"{saved}/.", home)

    yield prepare
    driver.call("umount", "--recursive", home)


@each_stage
def test_a_full_disk_is_told_and_with_room_it_ends_the_same(
    story: Story, disk: Callable[..., None], step: Step
) -> None:
    driver = story.driver
    disk(step)
    room = random.Random(f"{SEED} {step.name}").randrange(1 + story.growth(step) // 2)
    driver.call("mount", "-o", f"remount,size={driver.used() + room}", str(driver.home))
    ran = driver.run(*step.argv)
    assert ran.code == 75, f"{room} bytes of room: {ran.code}\n{ran.output}"
    assert f"{driver.home}/" in ran.output and "free s" in ran.output
    assert "Traceback" not in ran.output
    driver.call("mount", "-o", "remount,size=1g", str(driver.home))
    driver.ends(*step.argv)
    assert story.wrong(step, driver.seen()) == [], f"{room} bytes of room"


_WRITES_TO = {
    "ingest": "lake",
    "transform": "warehouse",
    "materialize": "feast",
    **dict.fromkeys(("train", "validate", "promote", "rollback"), "mlflow"),
}


@each_stage
def test_a_read_only_disk_is_told_and_not_tried_again(
    story: Story, disk: Callable[..., None], step: Step
) -> None:
    """Score meets one that is read-only as a whole, the others one folder that they write to."""
    driver, closed = story.driver, str(story.driver.home)
    disk(step)
    if folder := _WRITES_TO.get(step.stage):
        closed += f"/{folder}"
        driver.call("mount", "--bind", closed, closed)
    driver.call("mount", "-o", "remount,bind,ro", closed)
    ran = driver.run(*step.argv)
    assert ran.code == 2, ran.output
    assert closed in ran.output and "mend owner, permissions or mount" in ran.output
    assert "Traceback" not in ran.output
    before = story.after[STORY[STORY.index(step) - 1].name]
    found = differences(before, snapshot(driver.seen(), SLUG, driver.temporary))
    assert [one for one in found if "lake: training_sets/" not in one] == []  # named by content
