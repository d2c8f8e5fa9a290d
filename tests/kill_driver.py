"""Runs commands of `flightline` in children that die by SIGKILL at one of their writes.

A program: it imports what the stages need, once, and then forks a child for each line of JSON that
it reads, as the orchestrator's scheduler does. A write is a call that changes what is on the disk:
a file that is opened, synced, renamed or removed, a folder that is made, a statement or commit of a
database. Each is counted before it happens; most a second time, after it.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import signal
import sqlite3.dbapi2 as sqlite
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_MODULES = (
    *("dbt.cli.main", "dbt.adapters.duckdb.environments.local", "feast", "lightgbm", "optuna"),
    *("sklearn.linear_model", "matplotlib.figure", "mlflow.pyfunc"),
    *(f"mlflow.store.{kind}.sqlalchemy_store" for kind in ("tracking", "model_registry")),
    *("ml.adapters.asof_store", "ml.adapters.online_store", "ml.cli", "ml.stages.train"),
)
_AUDITED = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}


class Writes:
    """Counts writes below some folders, and ends this process at one of them.

    Args:
        folders: what is written elsewhere, such as to a terminal, does not count.
        number: of the write to die at, from 1; 0: none.
        tell: is given a name for that write, just before.
    """

    def __init__(self, folders: list[str], number: int, tell: Callable[[str], None]) -> None:
        self._folders, self._number, self._tell = tuple(folders), number, tell
        self._lock = threading.RLock()
        self.count = 0

    def at(self, what: str, path: object = None) -> None:
        if path is not None and not self._is_ours(path):
            return
        with self._lock:
            self.count += 1
            if self.count == self._number:
                self._tell(f"{what} {path or ''}".rstrip())
                os.kill(os.getpid(), signal.SIGKILL)

    def _is_ours(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and str(path).startswith(self._folders)

    def watch(self) -> None:
        """From now on; there is no way back in this process."""
        sys.addaudithook(self._audit)
        self._watch_files()
        self._watch_sqlite()
        self._watch_duckdb()

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _AUDITED:
            self.at(event, args[0])

    def _watch_files(self) -> None:
        real_open, real_sync = builtins.open, os.fsync

        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            found = real_open(file, mode, *args, **kwargs)
            if set(mode) & set("wax+") and self._is_ours(file):
                self._half_written(file, found)
            return found

        def synced(descriptor: int) -> None:
            self.at("before fsync")
            real_sync(descriptor)
            self.at("after fsync")

        builtins.open = io.open = opened
        os.fsync = synced

    def _half_written(self, path: object, file: Any) -> None:
        """Dies with something in the file that is neither the old nor the new content."""
        with self._lock:
            if self.count + 1 == self._number:
                os.write(file.fileno(), b"half of wh")
            self.at("half of", path)

    def _watch_sqlite(self) -> None:
        real_connect, writes = sqlite.connect, self

        class Connection(sqlite.Connection):
            def commit(self) -> None:
                writes.at("before commit")
                super().commit()
                writes.at("after commit")

            def execute(self, sql: str, *args: Any) -> Any:
                if not sql.lstrip().lower().startswith(("select", "pragma")):
                    writes.at(sql[:60])
                return super().execute(sql, *args)

            def __exit__(self, *args: Any) -> Any:
                writes.at("before commit")
                result = super().__exit__(*args)
                writes.at("after commit")
                return result

        def connect(*args: Any, **kwargs: Any) -> Any:
            return real_connect(*args, **{"factory": Connection, **kwargs})

        sqlite.connect = sys.modules["sqlite3"].connect = connect  # type: ignore[attr-defined]

    def _watch_duckdb(self) -> None:
        """DuckDB writes by itself: before and after each statement of dbt."""
        from dbt.adapters.duckdb.environments.local import DuckDBCursorWrapper

        real = DuckDBCursorWrapper.execute

        def execute(cursor: Any, sql: str, bindings: Any = None) -> Any:
            self.at(f"before {' '.join(sql.split())[:60]}")
            result = real(cursor, sql, bindings)
            self.at("after it")
            return result

        DuckDBCursorWrapper.execute = execute


def _import_everything() -> None:
    """What the scheduler imports before it forks, and nothing that starts a thread."""
    for name in _MODULES:
        import_module(name)


def _child(asked: dict[str, Any], pipe: int) -> None:
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)

    def tell(**found: Any) -> None:
        os.write(pipe, json.dumps(found).encode())

    writes = Writes(asked["folders"], asked["write"], lambda what: tell(struck=what))
    writes.watch()
    sys.argv = ["flightline", *asked["argv"]]
    code = 1
    try:
        from ml.cli import main

        main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:  # noqa: BLE001  # it is told as a traceback, as Python does
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    tell(code=code, writes=writes.count)
    os._exit(code)


def _fork(asked: dict[str, Any]) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.environ.update(asked["environment"])
        _child(asked, writer)
    os.close(writer)
    print(json.dumps({"pid": pid}), flush=True)
    with os.fdopen(reader) as told:
        found = told.read()
    _, status = os.waitpid(pid, 0)
    ended = {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}
    print(json.dumps(ended | json.loads(found or "{}")), flush=True)


def _own_spec() -> None:
    """The use case as the tests of kills need it, in place of what the repository has."""
    from kills import short_spec

    from ml.use_cases import load_module

    spec = short_spec()
    load_module(spec.slug, "spec").SPEC = spec  # type: ignore[attr-defined]


def main() -> None:
    _import_everything()
    _own_spec()
    print(json.dumps({"ready": threading.active_count()}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "command" in asked:
            done = subprocess.run(asked["command"], capture_output=True, text=True, check=False)
            print(json.dumps({"code": done.returncode, "told": done.stderr}), flush=True)
        else:
            _fork(asked)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
