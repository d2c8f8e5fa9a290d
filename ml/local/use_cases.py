"""`flightline list`: all use cases of this repository with their state, read without the libraries.

Everything is looked up where it is kept, by name: MLflow and PyArrow take seconds to import.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlencode

from ml.adapters import sqlite
from ml.core.errors import ConfigError, FlightlineError
from ml.core.names import CANARY, CHAMPION
from ml.local.ports import direct_opener
from ml.local.slices import Slice, present
from ml.render import console
from ml.settings import REPOSITORY, Settings, settings
from ml.use_cases import load_spec

if TYPE_CHECKING:
    from ml.core.spec import UseCase

_ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class Listed:
    """A use case in one line.

    Attributes:
        dags: what its Dag files are for (`daily`, `history`, …).
        data_to: key of the newest partition that was ingested.
        champion, canary: versions; None: there is none, or nobody answered.
        state: ok, or what it lacks, in words.
    """

    slug: str
    state: str
    title: str = ""
    owner: str = ""
    problem: str = ""
    cadence: str = ""
    dags: tuple[str, ...] = ()
    data_to: str = ""
    champion: int | None = None
    canary: int | None = None


def show(*, as_json: bool = False) -> None:
    """Print the list."""
    found = listing(settings())
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    elif found:
        _print(found)
    else:
        console().print("no use case is there yet: see docs/how-to/add-a-use-case.md")


def listing(where: Settings, root: Path = REPOSITORY) -> list[Listed]:
    """All use cases, sorted; a broken one is listed with the reason."""
    slugs = present(root)
    aliases, unknown = _aliases(where, slugs)
    return [_listed(slug, where, root, aliases.get(slug, {}), unknown) for slug in slugs]


def _listed(
    slug: str, where: Settings, root: Path, aliases: Mapping[str, int], unknown: str
) -> Listed:
    dags = tuple(stem.removeprefix(f"{slug}_") for stem in Slice(slug, root).dags())
    try:
        spec = load_spec(slug)
        _require_readable(slug, root)
    except ConfigError as error:
        reason = " ".join(line.strip() for line in error.seen.splitlines())
        return Listed(slug, f"broken: {reason}", dags=dags, data_to=_newest(where, slug))
    data_to = _newest(where, slug, *(t.name for t in spec.tables if not t.is_snapshot))
    champion, canary = aliases.get(CHAMPION), aliases.get(CANARY)
    return Listed(
        slug,
        _state(spec, dags, data_to, champion, unknown),
        title=spec.title,
        owner=spec.owner,
        problem=spec.problem.value,
        cadence=spec.cadence.job,
        dags=dags,
        data_to=data_to,
        champion=champion,
        canary=canary,
    )


def _state(
    spec: UseCase, dags: Iterable[str], data_to: str, champion: int | None, unknown: str
) -> str:
    if missing := {spec.cadence.job, "history", "retrain"} - set(dags):
        return f"broken: no Dag file for {', '.join(sorted(missing))}"
    if not data_to:
        return "never ingested"
    if champion is None:
        return unknown or "no model"
    return "ok"


def _require_readable(slug: str, root: Path) -> None:
    """Python that compiles: what Airflow, the stages and Feast would stumble over.

    Raises:
        ConfigError: naming the first file that does not, and the line.
    """
    wanted = (f"ml/use_cases/{slug}/contract.py", f"feature_repo/{slug}/features.py")
    for name in wanted:
        if not (root / name).is_file():
            raise ConfigError(f"no {name}")
    for file in Slice(slug, root).files():
        if file.suffix != ".py":
            continue
        name = file.relative_to(root).as_posix()
        try:
            compile(file.read_bytes(), name, "exec")
        except (SyntaxError, ValueError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            said = error.msg if isinstance(error, SyntaxError) else error
            raise ConfigError(f"{name}{line}: {said}") from error


def _newest(where: Settings, slug: str, *tables: str) -> str:
    """Key of the newest raw partition of the first of these tables, or of any."""
    raw, start = where.lake / "raw" / slug, "partition_key="
    folders = [raw / tables[0]] if tables else raw.glob("*")
    keys = {
        path.name.removeprefix(start)
        for folder in folders
        for path in folder.glob(f"{start}*")
        if (path / "data.parquet").is_file()
    }
    return max(keys, default="")


def _aliases(where: Settings, slugs: Iterable[str]) -> tuple[dict[str, dict[str, int]], str]:
    """Versions by alias by use case, and why they are not known if nobody can tell."""
    uri = (where.tracking_uri or f"sqlite:///{where.mlflow_database}").rstrip("/")
    try:
        if uri.startswith("http"):
            return {slug: _asked(uri, slug) for slug in slugs}, ""
        return _read(Path(uri.removeprefix("sqlite:///"))), ""
    except (OSError, HTTPException, ValueError, LookupError, FlightlineError) as error:
        told = getattr(error, "seen", str(error).strip()) or type(error).__name__
        return {}, f"models unknown: {uri}: {told}"


def _read(database: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    if not database.exists():
        return found
    with sqlite.opened(database) as connection:
        rows = connection.execute("select name, alias, version from registered_model_aliases")
        for name, alias, version in rows:
            found.setdefault(name, {})[alias] = int(version)
    return found


def _asked(url: str, name: str) -> dict[str, int]:
    """From a server; a use case that was never trained has no model there."""
    address = f"{url}/api/2.0/mlflow/registered-models/get?{urlencode({'name': name})}"
    try:
        with direct_opener().open(address, timeout=_ANSWER_SECONDS) as answer:
            found = json.load(answer)["registered_model"].get("aliases", [])
    except HTTPError as error:
        if error.code == 404:
            return {}
        raise
    return {one["alias"]: int(one["version"]) for one in found}


def _print(found: list[Listed]) -> None:
    """One line each, however narrow the terminal: columns of their widest entry."""
    names = ("use case", "title", "owner", "problem", "cadence", "dags", "data to", CHAMPION)
    rows = [(*names, CANARY, "state"), *(_cells(one) for one in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console().print("  ".join(cells).rstrip(), markup=False, soft_wrap=True)


def _cells(one: Listed) -> tuple[str, ...]:
    versions = ("" if version is None else str(version) for version in (one.champion, one.canary))
    plain = (one.slug, one.title, one.owner, one.problem, one.cadence, " ".join(one.dags))
    return (*plain, one.data_to, *versions, one.state)
