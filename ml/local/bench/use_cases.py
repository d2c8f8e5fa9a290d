"""What a hundred use cases cost: Dag files, the dag-processor, dbt, and lines of each.

Everything happens in a copy of the repository with a home of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ml.adapters import sqlite
from ml.core.errors import FlightlineError
from ml.local.bench.figures import Figure, ratio
from ml.local.removal import delete
from ml.local.slices import Slice, present
from ml.local.supervisor import DAG_PROCESSOR
from ml.settings import REPOSITORY
from ml.use_cases import demo_slug, load_all

_NUMBER = 100
_MINUTE = 60.0
_FOLDERS = ("ml", "dags", "dbt_project", "feature_repo", "infra")
_CODE = {".py", ".sql", ".yml"}

_PARSE = """
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
DagBag(sys.argv[1], safe_mode=True)  # imports, once
for module in [m for m in sys.modules if m.startswith(("ml.use_cases.", "orchestration"))]:
    del sys.modules[module]
began = time.perf_counter(), time.process_time()
bag = DagBag(sys.argv[1], safe_mode=True)
seconds, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
print(json.dumps([len(bag.dags), len(bag.import_errors), seconds, cpu]))
"""
_DBT = """
import json, sys, time
from pathlib import Path
from ml.adapters.warehouse import DuckDBWarehouse
from ml.settings import settings
from ml.use_cases import load_spec
warehouse = DuckDBWarehouse(load_spec(sys.argv[1]), settings())
times = []
for _ in range(4):  # the first imports
    began = time.process_time()
    done = warehouse.invoke(["--quiet", "parse", "--no-partial-parse"])
    assert done.success, done.exception
    times.append(time.process_time() - began)
print(json.dumps(times[1:]))
"""


@dataclass(frozen=True)
class Copy:
    """A copy of the repository's code, and a home."""

    root: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        folders = (self.root, self.root / "dags", self.root / "infra" / "airflow")
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
        return {
            **kept,
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "MLOPS_HOME": str(self.home),
            "AIRFLOW_HOME": str(self.home / "airflow-alone"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        }

    def python(self, code: str, *arguments: str) -> str:
        """Last line that it prints."""
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout.strip().splitlines()[-1]


def copied(target: Path) -> Copy:
    """The code as it is, without what it has made."""
    root = target / "repository"
    for folder in _FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "target", "logs")
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=ignored)
    return Copy(root, target / "home")


def clone(source: Slice, slug: str) -> Slice:
    """Another use case in the same tree: the same files under another slug."""
    for path in source.files():
        name = path.relative_to(source.root).as_posix().replace(source.slug, slug)
        target = source.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text().replace(source.slug, slug))
    return Slice(slug, source.root)


def parse_seconds(copy: Copy) -> tuple[int, float, float]:
    """Number of Dags, and wall and CPU seconds of one Dag file in a warm process."""
    dags, errors, seconds, cpu = json.loads(copy.python(_PARSE, str(copy.root / "dags")))
    if errors:
        raise SystemExit(f"{errors} Dag files of the copy cannot be loaded")
    return dags, seconds / dags, cpu / dags


def dbt_seconds(copy: Copy, slug: str) -> float:
    """CPU seconds of dbt's parse of one use case, from scratch: the least of three."""
    return float(min(json.loads(copy.python(_DBT, slug))))


@contextmanager
def _dag_processor(copy: Copy) -> Iterator[psutil.Process]:
    """The real one on a database of its own, with the platform's settings."""
    code = (
        "import json, os; from ml.local.environment import platform_environment as e;"
        "from ml.local.ports import Ports; from ml.local.secrets import load_secrets;"
        "from ml.settings import settings; s = settings(); s.airflow_home.mkdir(parents=True);"
        "print(json.dumps(e(s, load_secrets(s), Ports(airflow=1, mlflow=2), inherited=os.environ)))"
    )
    environment = json.loads(copy.python(code))
    airflow, quiet = str(Path(sys.executable).parent / "airflow"), subprocess.DEVNULL
    subprocess.run([airflow, "db", "migrate"], env=environment, check=True, stdout=quiet)
    log = (copy.home / "dag-processor.log").open("w")
    child = subprocess.Popen(DAG_PROCESSOR, env=environment, stdout=log, stderr=log)
    try:
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait()
        log.close()


def _parsed(copy: Copy) -> dict[str, str]:
    """When each Dag was parsed last."""
    with (
        suppress(FlightlineError),
        sqlite.opened(copy.home / "airflow" / "airflow.db") as connection,
    ):
        return dict(connection.execute("select dag_id, last_parsed_time from dag"))
    return {}


def _cpu_seconds(process: psutil.Process) -> float:
    """Of the process and of its children that have ended; those that run now are too short."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def processor(copy: Copy, dags: int) -> Iterator[Figure]:
    """What the dag-processor takes to read all, then for a minute, and until it sees a change."""
    with _dag_processor(copy) as process:
        while len(_parsed(copy)) < dags:
            if process.status() == psutil.STATUS_ZOMBIE:
                raise SystemExit((copy.home / "dag-processor.log").read_text()[-3000:])
            time.sleep(1)
        time.sleep(5)
        first = _cpu_seconds(process)
        yield Figure("dag-processor, first, a file", first / dags, "CPU s")
        time.sleep(_MINUTE)
        share = 100 * (_cpu_seconds(process) - first) / _MINUTE
        yield Figure("dag-processor, then", share, "% of a core", 5)
        for what, seconds in _seen_after(copy).items():
            yield Figure(f"{what} is seen", seconds, "s")


def _seen_after(copy: Copy) -> dict[str, float]:
    """Seconds until Airflow has read what is new: a Dag file, a spec, a whole use case."""
    slug = present(copy.root)[0]
    dag = Slice(slug, copy.root).dags()[0]
    found = {}
    for what, path in {
        "a changed Dag file": copy.root / "dags" / f"{dag}.py",
        "a changed spec": copy.root / "ml" / "use_cases" / slug / "spec.py",
    }.items():
        path.write_text(path.read_text() + "\n# changed\n")
        found[what] = _seconds_until(_is_read_anew(copy, dag, _parsed(copy)[dag]))
    added = clone(Slice(slug, copy.root), "newcomer")
    found["a new use case"] = _seconds_until(lambda: set(added.dags()) <= _parsed(copy).keys())
    return found


def _is_read_anew(copy: Copy, dag: str, before: str) -> Callable[[], bool]:
    return lambda: _parsed(copy)[dag] != before


def _seconds_until(is_so: Callable[[], bool]) -> float:
    began = time.perf_counter()
    while not is_so():
        if time.perf_counter() - began > 4 * _MINUTE:
            return float("inf")
        time.sleep(0.25)
    return time.perf_counter() - began


def lines(found: Slice) -> int:
    """Lines of code of a use case; its runbook and its tests are not among them."""
    files = (file for file in found.files() if "tests" not in file.parts)
    return sum(len(file.read_text().splitlines()) for file in files if file.suffix in _CODE)


def measure() -> Iterator[Figure]:
    slugs = sorted(load_all()[0], key=lambda slug: lines(Slice(slug)))
    for slug in slugs:  # the demo's shows what is possible, the others how little is needed
        aim = None if slug == demo_slug() else 400
        yield Figure(f"lines of {slug}", lines(Slice(slug)), "lines", aim)
    smallest = slugs[0]
    with tempfile.TemporaryDirectory(prefix="flightline-bench-") as folder:
        copy = copied(Path(folder))
        for slug in set(present(copy.root)) - {smallest}:
            for path in Slice(slug, copy.root).paths():
                delete(path)
        alone = dbt_seconds(copy, smallest)
        for index in range(1, _NUMBER):
            clone(Slice(smallest, copy.root), f"case_{index:03d}")
        among = dbt_seconds(copy, smallest)
        # No more is no growth; a tenth is what two runs of the same differ by.
        yield ratio(f"dbt parse: among {_NUMBER}, alone", among, alone, aim=1.1, unit="CPU s")
        dags, wall, cpu = parse_seconds(copy)
        yield Figure("parse of a Dag file", wall, "s", 0.1, f"{dags} files, {cpu:.3f} CPU s each")
        yield from processor(copy, dags)
