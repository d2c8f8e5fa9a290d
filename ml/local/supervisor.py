"""Start, stop and look at the local platform: three Airflow processes and an MLflow server."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ml.adapters import state
from ml.adapters.files import held, locked, require_writable, storage_errors
from ml.core.errors import ConfigError, TransientError
from ml.local import airflow_db, journal, processes, readiness
from ml.local.airflow_api import AirflowApi
from ml.local.environment import platform_environment
from ml.local.ports import LOOPBACK, Ports, check_free, keep_ports, kept_ports, load_ports
from ml.local.secrets import load_secrets, write_airflow_passwords

if TYPE_CHECKING:
    from ml.settings import Settings

Progress = Callable[[str], None]

COMPONENTS = ("mlflow", "api-server", "scheduler", "dag-processor")
SCRIPTS = Path(sys.executable).parent
DAG_PROCESSOR = (sys.executable, "-P", "-m", "flightline_dag_processor")
LOCK_SECONDS = 180.0
SECOND_LOOK_SECONDS = 5.0

# MLflow's server would make its tables in place, and after a kill in the middle never start again.
# A process of its own, which then becomes the server: MLflow's import takes seconds.
_MLFLOW = """
import os, pathlib, sys
from ml.adapters.mlflow_client import make
make(pathlib.Path(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class ComponentStatus:
    """One component; `pid` is None when it is down, and `log` says why.

    Attributes:
        end: how it ended, if it was not stopped with the platform and somebody saw it.
    """

    name: str
    pid: int | None
    log: Path
    end: journal.Loss | None = None

    @property
    def is_up(self) -> bool:
        return self.pid is not None


@dataclass(frozen=True)
class PlatformStatus:
    """All components and where they listen; before the first start the addresses are empty."""

    components: tuple[ComponentStatus, ...]
    airflow_url: str
    mlflow_url: str

    @property
    def is_up(self) -> bool:
        return all(component.is_up for component in self.components)

    @property
    def down(self) -> tuple[ComponentStatus, ...]:
        return tuple(component for component in self.components if not component.is_up)


def status(settings: Settings) -> PlatformStatus:
    """Which components run, read from the processes themselves."""
    ports, live = kept_ports(settings), processes.leaders(settings.home)
    ends = lives[-1].ends if (lives := journal.lives(settings)) else {}
    components = tuple(
        ComponentStatus(name, live[name].pid, log_path(settings, name))
        if name in live
        else ComponentStatus(name, None, log_path(settings, name), ends.get(name))
        for name in COMPONENTS
    )
    addresses = (ports.airflow_url, ports.mlflow_url) if ports else ("", "")
    return PlatformStatus(components, *addresses)


def log_path(settings: Settings, component: str) -> Path:
    return settings.logs / f"{component}.log"


def up(
    settings: Settings, *, pools: Sequence[str] = (), progress: Progress = print
) -> PlatformStatus:
    """Start what is not running, wait until it works, and return where it listens.

    Safe to repeat. Leftovers of an earlier start that did not end well are stopped first, and what
    was interrupted goes on; runs that used up their tries while a component was down run again.

    Args:
        pools: use cases; each gets an Airflow pool of one slot, as its warehouse has one writer.
        progress: is told what happens, one line at a time.

    Raises:
        ConfigError: if a port is taken, or the home cannot be written to.
        TransientError: if there is no room.
        FlightlineError: if a component ends or is not ready in time; then nothing is left running.
    """
    require_writable(settings.home)  # before anything is stopped to be started anew
    with _locked(settings, progress):
        found, started_at = status(settings), 0.0
        if found.is_up and not _is_stuck(settings, progress):
            progress("already up")
        else:
            started_at = _start(settings, found, progress)
        _prepare_dags(settings, pools, progress, parsed_after=started_at)
        _finish_start(settings, progress)
        return status(settings)


def _start(settings: Settings, found: PlatformStatus, progress: Progress) -> float:
    """Start all components anew; returns when that began."""
    _clean_up(settings, found, progress)
    started_at = time.time()
    try:
        with storage_errors(settings.home):
            children = _start_all(settings, progress)
        readiness.wait(settings, children, started_at=started_at, progress=progress)
    except BaseException:  # also Ctrl-C: never leave half a platform behind
        stop(settings, progress)
        raise
    progress(f"up after {time.time() - started_at:.0f} s")
    return started_at


def _prepare_dags(
    settings: Settings, pools: Sequence[str], progress: Progress, *, parsed_after: float = 0.0
) -> None:
    """A Dag file that cannot be loaded is told and stops no other."""
    broken = readiness.prepare_dags(settings, pools, parsed_after=parsed_after)
    for file, reason in broken.items():
        progress(f"dags/{file} is not loaded, all others are: {reason}")


def down(settings: Settings, *, progress: Progress = print) -> int:
    """Stop everything that an `up` of this home started; returns how many processes there were.

    A running task gets 20 seconds to end; Airflow runs it again after the next start.
    On a disk that is full or read-only everything is stopped all the same.
    """
    with _locked(settings, progress, must_write=False):
        return stop(settings, progress)


def stop(settings: Settings, progress: Progress, *, grace_seconds: float = 20.0) -> int:
    """The same, by a caller that holds the lock of starts and stops."""
    refusal: OSError | None = None
    if processes.leaders(settings.home):  # else it was not stopped now: it went down before
        try:
            journal.record_stop(settings)
        except OSError as error:
            refusal = error
    stopped = processes.stop_all(settings.home, grace_seconds=grace_seconds)
    if refusal:
        progress(f"stopped, but that is not noted in {journal.journal_path(settings)}: {refusal}")
    return stopped


def _clean_up(settings: Settings, found: PlatformStatus, progress: Progress) -> None:
    down = {component.name for component in found.down}
    for component in found.down:
        if component.end or len(down) < len(COMPONENTS):
            how = component.end or "is down"
            log = processes.previous(component.log)
            progress(f"{component.name} {how} (log: {log}); starting everything anew")
    # Tasks that cannot report their end would be waited for in vain, as would workers that hang.
    grace_seconds = 0 if "api-server" in down or not down else 20
    if stopped := stop(settings, progress, grace_seconds=grace_seconds):
        progress(f"stopped {stopped} processes of an earlier start")


def _is_stuck(settings: Settings, progress: Progress) -> bool:
    """Whether no task can start any more although every component runs.

    What is left from before a start may just be about to begin: a second look decides.
    """
    if _stuck_since(settings) is None:
        return False
    time.sleep(SECOND_LOOK_SECONDS)
    if since := _stuck_since(settings):
        progress(f"tasks wait since {since:%H:%M:%S} UTC and none runs: starting everything anew")
    return since is not None


def _stuck_since(settings: Settings) -> datetime | None:
    now = datetime.fromtimestamp(time.time(), UTC)
    return airflow_db.look(settings, since=now).stuck_since(now)


def _finish_start(settings: Settings, progress: Progress) -> None:
    """Repeat what failed while a component was down, and note last that this is done.

    So what an interruption leaves undone is done by the next `up`.
    """
    lives = journal.lives(settings)
    if lives and lives[-1].ready_at is None:
        if first := journal.first_end(settings):
            runs = airflow_db.worn_out_between(settings, first, lives[-1].started_at)
            _repeat(settings, runs, progress)
        journal.record(settings, journal.READY)


def _repeat(settings: Settings, runs: Sequence[tuple[str, str]], progress: Progress) -> None:
    """Tasks try for a minute or so; if a component is away for longer, their runs fail for good."""
    api = AirflowApi.connect(settings)
    for dag_id, run_id in runs:
        try:
            api.repeat_run(dag_id, run_id)
            progress(f"{dag_id} {run_id} failed while a component was down: it runs again")
        except ConfigError as error:  # the Dag may be gone
            progress(f"{dag_id} {run_id} failed while a component was down: {error.seen}")


def _start_all(settings: Settings, progress: Progress) -> dict[str, subprocess.Popen[bytes]]:
    state.check_all(settings.model_copy(update={"tracking_uri": None}))
    ports = load_ports(settings)
    check_free(settings, ports)
    keep_ports(settings, ports)
    secrets = load_secrets(settings)
    write_airflow_passwords(settings, secrets.passwords)
    settings.mlflow_database.parent.mkdir(parents=True, exist_ok=True)
    state.settle(settings.model_copy(update={"tracking_uri": None}))  # the server is this one
    env = platform_environment(settings, secrets, ports, inherited=os.environ)

    def start(name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        log = log_path(settings, name)
        kept = journal.journal_path(settings)
        return processes.start(name, command, home=settings.home, log=log, journal=kept, env=env)

    journal.record(settings, journal.START)  # here: what has refused until now started nothing
    children = {"mlflow": start("mlflow", _mlflow_command(settings, ports))}
    # First: daemons that start in an empty home make up their own secrets, and every task fails.
    _migrate(settings, start, progress)
    airflow_db.hand_over(settings, at=datetime.fromtimestamp(time.time(), UTC))
    progress("starting Airflow and MLflow")
    airflow = str(SCRIPTS / "airflow")
    children["api-server"] = start("api-server", [airflow, "api-server"])
    # -s: its log server would listen on all interfaces.
    children["scheduler"] = start("scheduler", [airflow, "scheduler", "-s"])
    children["dag-processor"] = start("dag-processor", DAG_PROCESSOR)
    return children


def _mlflow_command(settings: Settings, ports: Ports) -> list[str]:
    return [
        *(sys.executable, "-P", "-c", _MLFLOW, str(settings.mlflow_database)),
        *(str(SCRIPTS / "mlflow"), "server"),
        *("--host", LOOPBACK, "--port", str(ports.mlflow), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{settings.mlflow_database}"),
        *("--artifacts-destination", str(settings.artifacts)),
        *("--uvicorn-opts", "--no-access-log"),
    ]


def _migrate(
    settings: Settings,
    start: Callable[[str, Sequence[str]], subprocess.Popen[bytes]],
    progress: Progress,
) -> None:
    """Create or upgrade Airflow's database, once for each version of Airflow."""
    marker = settings.airflow_home / "migrated-to"
    version = importlib.metadata.version("apache-airflow")
    database = settings.airflow_database
    state.undo(database)  # first, whichever version began that upgrade
    if database.exists() and marker.exists() and marker.read_text() == version:
        return
    progress(f"preparing Airflow's database (version {version})")
    with state.copied(database, version):
        if start("migrate", [str(SCRIPTS / "airflow"), "db", "migrate"]).wait() != 0:
            raise readiness.component_ended("migrate", log_path(settings, "migrate"))
    marker.write_text(version)  # last: a copy that still counted would one day be put back


@contextlib.contextmanager
def _locked(settings: Settings, progress: Progress, *, must_write: bool = True) -> Iterator[None]:
    """One start or stop at a time for each home; the kernel frees the lock with its holder."""
    with held(settings.platform_lock, partial(_acquire, progress=progress), must_write=must_write):
        yield


def _acquire(file: BinaryIO, progress: Progress) -> None:
    deadline, is_told = time.monotonic() + LOCK_SECONDS, False
    while not locked(file):
        if time.monotonic() > deadline:
            raise TransientError(
                f"another start or stop has been going on for {LOCK_SECONDS:.0f} s",
                expected="it ends",
                repair="end that command, then try again",
            )
        if not is_told:
            progress("another start or stop is going on: waiting")
            is_told = True
        time.sleep(0.2)
