"""The home: whether it can be written to, by whom it can be read, and what it lacks."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ml.local.doctor.check import Check, nearest_folder

if TYPE_CHECKING:
    from ml.settings import Settings

GIB = 2**30
DISK_GIB, DISK_FILES = 5.0, 50_000


def check_home(settings: Settings) -> Check:
    folder = nearest_folder(settings.home)
    ok = os.access(folder, os.W_OK | os.X_OK)
    detail = str(settings.home) if ok else f"{folder} is not writable"
    return Check("home", ok, detail, "set MLOPS_HOME to a folder of yours")


def check_state(settings: Settings) -> Check:
    """What a newer version has written or migrated, this one cannot read."""
    from ml.adapters import state
    from ml.core.errors import FlightlineError

    try:
        found = state.check_all(settings)
    except FlightlineError as error:
        return Check("state", False, error.seen, error.repair)
    detail = f"layout {found.layout}, of Flightline {found.flightline}"
    return Check("state", True, detail if found.layout else "none yet")


def check_disk(settings: Settings) -> Check:
    folder = nearest_folder(settings.home)
    free, files = shutil.disk_usage(folder).free / GIB, os.statvfs(folder)
    detail = f"{free:.1f} GiB free, {DISK_GIB:.0f} needed"
    is_short_of_files = bool(files.f_files) and files.f_favail < DISK_FILES
    if is_short_of_files:
        detail = f"room for {files.f_favail:,} more files, {DISK_FILES:,} needed"
    is_enough = free >= DISK_GIB and not is_short_of_files
    return Check("disk", is_enough, detail, "free some space, or set MLOPS_HOME")


def check_permissions(settings: Settings) -> Check:
    """Secrets are for one pair of eyes; what another user wrote stops the platform later."""
    from ml.local.secrets import passwords_file, secrets_file

    wrong = [
        (f"others may read {file} (mode {mode:o})", f"chmod 600 {file}")
        for file in (secrets_file(settings), passwords_file(settings))
        if file.exists() and (mode := stat.S_IMODE(file.stat().st_mode)) & 0o077
    ]
    for path in _first_levels(settings.home):
        wrong += _not_ours(path, settings.home)
    detail = "; ".join(seen for seen, _ in wrong[:3]) or "secrets are private, folders are ours"
    repair = "; ".join(dict.fromkeys(mend for _, mend in wrong))
    return Check("permissions", not wrong, detail, repair)


def _first_levels(home: Path) -> Iterator[Path]:
    """The home and two levels below it: whoever wrote the rest wrote these."""
    if not home.is_dir():
        return
    yield home
    for path in sorted(home.glob("*")):
        yield path
        if path.is_dir() and os.access(path, os.R_OK | os.X_OK):
            yield from sorted(path.glob("*"))


def _not_ours(path: Path, home: Path) -> list[tuple[str, str]]:
    found, me = path.lstat(), os.geteuid()
    if found.st_uid != me:
        seen = f"{path} belongs to user {found.st_uid}, this is user {me}"
        return [(seen, f"sudo chown -R {me} {home}, or set MLOPS_HOME")]
    wanted = 0o700 if stat.S_ISDIR(found.st_mode) else 0o600
    is_link = stat.S_ISLNK(found.st_mode)
    if not is_link and found.st_mode & wanted != wanted:
        return [(f"{path} is closed to its owner", f"chmod -R u+rwX {home}")]
    return []


def check_ports(settings: Settings) -> Check:
    """Free, or held by this home's own platform; ports are chosen at the first start."""
    from ml.core.errors import ConfigError
    from ml.local import processes
    from ml.local.ports import check_free, load_ports, ports_file

    if not ports_file(settings).exists() and not (settings.airflow_port or settings.mlflow_port):
        return Check("ports", True, "chosen at the first start")
    if processes.leaders(settings.home):
        return Check("ports", True, "in use by this platform")
    ports = load_ports(settings)
    try:
        check_free(settings, ports)
    except ConfigError as error:
        return Check("ports", False, error.seen, error.repair)
    return Check("ports", True, f"{ports.airflow} and {ports.mlflow} are free")
