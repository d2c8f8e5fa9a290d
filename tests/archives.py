"""A home with everything a backup must cope with, and ways to damage its archive."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa

from ml.settings import Settings

MADE_AT = "2013-06-01T00:00:00+00:00"


def tables(path: Path, rows: int) -> sqlite3.Connection:
    """A database as Airflow has it: much of it only in the write-ahead log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = sqlite3.connect(path)
    opened.execute("pragma journal_mode = wal")
    with opened:
        opened.execute("create table t (n integer)")
        opened.executemany("insert into t values (?)", [(n,) for n in range(rows)])
    return opened


def content(where: Settings) -> dict[str, bytes]:
    paths = (path for path in where.home.rglob("*") if path.is_file())
    found = {path.relative_to(where.home).as_posix(): path.read_bytes() for path in paths}
    return {name: read for name, read in found.items() if not name.startswith(("locks/", "platf"))}


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as opened:
        return int(opened.execute("select count(*) from t").fetchone()[0])


def changed(archive: Path, how: str) -> None:
    whole = archive.read_bytes()
    middle = len(whole) // 2
    if how == "truncated":
        archive.write_bytes(whole[:middle])
    elif how == "a byte":
        archive.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    elif how == "no archive":
        archive.write_text("not an archive")
    elif how == "empty":
        archive.write_bytes(b"")
    else:
        rewritten(archive, how)


def rewritten(archive: Path, how: str) -> None:
    """Unpacked, changed by somebody who knows the format, and packed again."""
    with (
        pa.input_stream(str(archive), compression="zstd") as s,
        tarfile.open(fileobj=s, mode="r|") as t,
    ):
        members = [(member, file.read()) for member in t if (file := t.extractfile(member))]
    if how == "a row":
        members = [(m, c.replace(b"rows", b"bows")) for m, c in members]
    elif how == "a file less":
        members = [(m, c) for m, c in members if "parquet" not in m.name]
    elif how == "permissions":
        for member, _ in members:
            member.mode |= 0o044
    elif how == "times":
        members[0][0].mtime += 60
    elif how == "no times":
        members = without_times(members)
    elif how == "a path that leads out":
        members[0][0].name = "home/../../escaped"
    elif how == "an absolute path":
        members[0][0].name = f"home/{archive.parent}/escaped"
    elif how == "a set-user-id bit":
        members = set_user_id(members)
    with (
        pa.output_stream(str(archive), compression="zstd") as s,
        tarfile.open(fileobj=s, mode="w|") as t,
    ):
        for member, data in members:
            t.addfile(member, pa.BufferReader(data))


def without_times(members: list[tuple[tarfile.TarInfo, bytes]]) -> Any:
    """As it was written once: times neither in the archive nor in its manifest."""
    plain = json.loads(members[-1][1])
    for entry in plain["files"].values():
        del entry["changed_at"]
    for member, _ in members:
        member.mtime = 0
    members[-1] = (members[-1][0], json.dumps(plain).encode())
    members[-1][0].size = len(members[-1][1])
    return members


def set_user_id(members: list[tuple[tarfile.TarInfo, bytes]]) -> Any:
    plain = json.loads(members[-1][1])
    plain["files"][members[0][0].name.removeprefix("home/")]["mode"] |= 0o4111
    members[0][0].mode |= 0o4111
    members[-1] = (members[-1][0], json.dumps(plain, indent=1, sort_keys=True).encode())
    members[-1][0].size = len(members[-1][1])
    return members


def rewrite_manifest(archive: Path, changes: dict[str, Any]) -> None:
    with (
        pa.input_stream(str(archive), compression="zstd") as s,
        tarfile.open(fileobj=s, mode="r|") as t,
    ):
        members = [(member, file.read()) for member in t if (file := t.extractfile(member))]
    plain = json.loads(members[-1][1])
    for entry in plain["files"].values():
        entry.update(colour="red")
    plain |= changes
    members[-1] = (members[-1][0], json.dumps(plain).encode())
    with (
        pa.output_stream(str(archive), compression="zstd") as s,
        tarfile.open(fileobj=s, mode="w|") as t,
    ):
        for member, data in members:
            member.size = len(data)
            t.addfile(member, pa.BufferReader(data))
