"""Runs a stage by name from plain values: what the command line and the orchestrator both call."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml.adapters import state
from ml.adapters.connect import connect
from ml.adapters.files import exclusive, scratch
from ml.core.errors import ConfigError, TransientError
from ml.core.ports import Platform
from ml.core.prediction_source import Source
from ml.settings import Settings, settings
from ml.stages.meter import Meter

RUN_LINK, VERSION_LINK = "MLflow run", "Model version"


@dataclass(frozen=True)
class Arguments:
    """Plain values that a stage may need; each stage takes its own.

    Attributes:
        first, last: partition keys, both included; `last` defaults to `first`.
        as_of: partition key; a training is as of its start. Default: data time.
        version: of the registered model.
        as_champion: for `promote`: the canary takes all traffic.
        reason, expect: for `rollback`: why, and the revision to leave.
        revision: when a delivery became known, ISO 8601 with an offset, for `ingest`.
        accept_anomalies: for `ingest`: unusual volume or freshness does not stop it.
        replace: for `ingest`: forget what the lake has of the range.
        stale: for `transform`: what is stale instead of a range.
        table, rows: for `replay`: of one table; a file with mended rows.
        output: for `features`: the file to write.
        source: for `score`.
        requested_by: for the record of a training.
        is_trial, settings: for `train`: an experiment, and what it changes, `key=value` each.
        run_id: for `reproduce`.
    """

    first: str = ""
    last: str = ""
    as_of: str = ""
    version: int = 0
    as_champion: bool = False
    reason: str = ""
    expect: int = 0
    revision: str = ""
    accept_anomalies: bool = False
    replace: bool = False
    stale: bool = False
    table: str = ""
    rows: str = ""
    output: str = ""
    source: str = Source.SCORE.value
    requested_by: str = "command line"
    is_trial: bool = False
    settings: tuple[str, ...] = ()
    run_id: str = ""


@dataclass(frozen=True)
class StageRun:
    """A stage that ran: its result and what it cost.

    Attributes:
        links: pages of the run and of the version that it was about, if there is a server.
    """

    stage: str
    result: Any
    seconds: float
    cpu_seconds: float
    peak_mib: float
    links: Mapping[str, str] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """Only what JSON knows, for the orchestrator's return value and for `--json`."""
        text = json.dumps(dataclasses.asdict(self), default=str)
        plain: dict[str, Any] = json.loads(text, parse_constant=lambda _: None)
        return plain


def _partitions(platform: Platform, arguments: Arguments) -> dict[str, Any]:
    last = arguments.last or arguments.first
    return {"partitions": platform.spec.partitions(arguments.first, last)}


def _delivery(arguments: Arguments) -> dict[str, Any]:
    revision = _instant(arguments.revision) if arguments.revision else None
    return {"revision": revision, "accept_anomalies": arguments.accept_anomalies}


# Each stage is imported where it runs: together they take seconds, and a task is one of them.


def _ingest(platform: Platform, arguments: Arguments) -> Any:
    from ml.stages import ingest

    delivery = _delivery(arguments) | {"replace": arguments.replace}
    return ingest.run(platform, **_partitions(platform, arguments), **delivery)


def _replay(platform: Platform, arguments: Arguments) -> Any:
    from ml.stages import quarantine

    chosen = _partitions(platform, arguments) if arguments.first else {"partitions": None}
    rows = Path(arguments.rows) if arguments.rows else None
    return quarantine.replay(
        platform, table=arguments.table, rows=rows, **chosen, **_delivery(arguments)
    )


def _transform(platform: Platform, arguments: Arguments) -> Any:
    from ml.stages import transform

    if arguments.stale:
        return transform.run_stale(platform)
    return transform.run(platform, **_partitions(platform, arguments))


def _instant(text: str) -> datetime:
    """An aware time in UTC; without an offset it would be anybody's guess."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError(text)
    except ValueError as error:
        raise ConfigError(
            f"bad time {text!r}", expected="ISO 8601 with an offset: 2013-07-01T12:00:00+00:00"
        ) from error
    return found.astimezone(UTC)


def _score(platform: Platform, arguments: Arguments) -> Any:
    from ml.stages import score

    batch = (Source.SCORE.value, Source.REPLAY.value)
    if arguments.source not in batch:
        raise ConfigError(
            f"bad source {arguments.source!r}", expected="one of: " + ", ".join(batch)
        )
    source = Source(arguments.source)
    return score.run(platform, source=source, **_partitions(platform, arguments))


def _as_of(platform: Platform, arguments: Arguments) -> datetime:
    key = arguments.as_of
    return platform.spec.as_of(key) if key else platform.data_time()


def _train(platform: Platform, arguments: Arguments) -> Any:
    from ml.stages import train

    as_of = _as_of(platform, arguments)
    return train.run(
        platform,
        as_of=as_of,
        requested_by=arguments.requested_by,
        settings=arguments.settings,
        is_trial=arguments.is_trial,
    )


def _reproduce(platform: Platform, arguments: Arguments) -> Any:
    from ml.stages import reproduce

    return reproduce.run(platform, run_id=arguments.run_id)


def _features(platform: Platform, arguments: Arguments) -> Any:
    from ml.stages import training_set

    as_of = _as_of(platform, arguments)
    return training_set.run(platform, as_of=as_of, output=Path(arguments.output))


def _materialize(platform: Platform, arguments: Arguments) -> Any:
    from ml.stages import materialize

    return materialize.run(platform, **_partitions(platform, arguments))


def _validate(platform: Platform, arguments: Arguments) -> Any:
    from ml.stages import validate

    return validate.run(platform, version=arguments.version)


def _promote(platform: Platform, arguments: Arguments) -> Any:
    from ml.stages import promote

    return promote.run(platform, version=arguments.version, as_champion=arguments.as_champion)


def _rollback(platform: Platform, arguments: Arguments) -> Any:
    from ml.stages import rollback

    return rollback.run(platform, reason=arguments.reason, expect=arguments.expect)


_STAGES: Mapping[str, Callable[[Platform, Arguments], Any]] = {
    "ingest": _ingest,
    "replay": _replay,
    "transform": _transform,
    "features": _features,
    "materialize": _materialize,
    "train": _train,
    "reproduce": _reproduce,
    "validate": _validate,
    "promote": _promote,
    "rollback": _rollback,
    "score": _score,
}


def run_stage(
    stage: str,
    slug: str,
    arguments: Arguments,
    *,
    where: Settings | None = None,
    wait_seconds: float = 0,
) -> StageRun:
    """Run one stage of a use case; stages of one use case run one at a time.

    Args:
        wait_seconds: how long to wait for another stage of this use case to end.

    Raises:
        FlightlineError: as the stage's own `run` says; `TransientError` if another stage of this
            use case is still running.
    """
    with opened(slug, where, wait_seconds=wait_seconds) as platform:
        with Meter() as meter:
            result = _STAGES[stage](platform, arguments)
        links = _links(platform, result)
    return StageRun(stage, result, meter.seconds, meter.cpu_seconds, meter.peak_mib, links)


def _links(platform: Platform, result: Any) -> dict[str, str]:
    """Pages about a stage's version, or about its run."""
    version, run_id = getattr(result, "version", None), getattr(result, "run_id", "")
    pages: dict[str, str] = {}
    with suppress(TransientError):  # if the server goes away now, the work is done all the same
        if version:
            found = platform.registry.version(version)
            run_id, pages[VERSION_LINK] = found.run_id, found.url
        if run_id:
            pages[RUN_LINK] = platform.tracking.url(run_id)
    return {name: url for name, url in pages.items() if url}


@contextmanager
def opened(
    slug: str, where: Settings | None = None, *, wait_seconds: float = 0
) -> Iterator[Platform]:
    """The platform of a use case, which nobody else works on meanwhile.

    Raises:
        ConfigError: if the state in the home is of a newer version, or cannot be upgraded.
        TransientError: if another stage of this use case still runs after `wait_seconds`.
    """
    where = where or settings()
    platform = connect(slug, where)
    state.settle(where)
    with (
        exclusive(where.lock_of(slug), wait_seconds=wait_seconds),
        scratch(where.home / "tmp" / slug),
    ):
        yield platform
