"""Reproduce: train a past run again from its record, and say what came out the same."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import Any

import pandas as pd
from pydantic import ValidationError

from ml.adapters.model_files import CONTRACT, NATIVE, contract_digest, interval_digest
from ml.core.digests import frame_digest
from ml.core.errors import ConfigError, DataError
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages.training.contest import compete
from ml.stages.training.material import Competitor, Material
from ml.stages.training.parameters import check_plan
from ml.stages.training.record import SPEC, TRAINING, spec_digest
from ml.stages.training_set import read_training_set

_MODEL = ("model", "contract", "interval")
_MOST = 5  # differences of one thing that are named


@dataclass(frozen=True)
class Compared:
    """One thing as it was recorded and as it is now.

    Attributes:
        note: what exactly differs.
    """

    what: str
    recorded: str
    now: str
    is_same: bool
    note: str = ""


@dataclass(frozen=True)
class ReproduceResult:
    """Whether a run's record gives its model again.

    Attributes:
        is_same: the files of model and interval and the contract are the same, byte for byte.
        differs: what is not as it was; with the same model, it did not matter.
        checks: data, spec, code and environment of then and today; parameters and model of the
            run and of the training that was just repeated from its record.
    """

    run_id: str
    is_same: bool
    differs: tuple[str, ...]
    checks: tuple[Compared, ...]


@dataclass(frozen=True)
class _Record:
    """What a run says of itself."""

    run_id: str
    spec: UseCase
    training: Mapping[str, Any]
    tags: Mapping[str, str]

    @classmethod
    def of(cls, platform: Platform, run_id: str) -> _Record:
        text = platform.tracking.document(run_id, SPEC)
        training = json.loads(platform.tracking.document(run_id, TRAINING))
        try:
            spec = UseCase.model_validate_json(text)
        except ValidationError as error:
            raise ConfigError(
                f"this code cannot read the spec of run {run_id}: {error.errors()[0]['msg']}",
                expected="a run of this version of the platform",
                repair="check out the commit in its tag git.commit, and repeat it there",
            ) from error
        return cls(run_id, spec, training, platform.tracking.tags(run_id))

    @property
    def digest(self) -> str:
        return self.tags["dataset.sha256"]


@dataclass(frozen=True)
class _Today:
    """The training set as it would be read today, or why there is none."""

    rows: pd.DataFrame | None
    fault: str = ""

    @cached_property
    def digest(self) -> str:
        return "" if self.rows is None else frame_digest(self.rows)


def run(platform: Platform, *, run_id: str) -> ReproduceResult:
    """Train a run again, search included, from the training set and spec that it recorded.

    The training set is also read anew from the features. Nothing is registered or changed.

    Args:
        run_id: of a training or a trial; the first digits are enough if it has a version.

    Raises:
        ConfigError: if its spec cannot be read by this code.
        DataError: if there is no such run, or its training set is lost.
    """
    record = _Record.of(platform, _whole_id(platform, run_id))
    past = dataclasses.replace(platform, spec=record.spec)
    classes = len(record.spec.label.classes)
    check_plan(record.spec.problem, record.spec.model, classes=classes)
    today = _today(past, datetime.fromisoformat(record.tags["as_of"]))
    examples = _recorded_set(past, record, today)
    material = Material(record.spec, examples, tuple(record.training["columns"]))
    again = compete(material).chosen
    checks = (*_inputs(platform, record, today), *_outputs(record, again))
    return ReproduceResult(
        run_id=record.run_id,
        is_same=all(one.is_same for one in checks if one.what in _MODEL),
        differs=tuple(one.what for one in checks if not one.is_same),
        checks=checks,
    )


def _whole_id(platform: Platform, start: str) -> str:
    known = {version.run_id for version in platform.registry.versions()}
    found = sorted(run_id for run_id in known if start and run_id.startswith(start))
    if len(found) > 1:
        raise ConfigError(
            f"{len(found)} runs begin with {start}",
            expected=f"one of: {', '.join(found[:_MOST])}",
            repair="give more digits",
        )
    return found[0] if found else start


def _today(past: Platform, as_of: datetime) -> _Today:
    try:
        return _Today(read_training_set(past, past.spec.windows(as_of)))
    except (ConfigError, DataError) as error:  # that it cannot be read is a finding, too
        return _Today(None, error.seen)


def _recorded_set(past: Platform, record: _Record, today: _Today) -> pd.DataFrame:
    """The training set of then: from the lake, or if that copy is gone, read anew if it is equal.

    Raises:
        DataError: if there is none with the recorded digest.
    """
    if today.rows is not None and today.digest == record.digest:
        return today.rows
    fault = "the copy in the lake is not what was recorded"
    try:
        rows = past.lake.read("training_sets", record.digest[:32], [None])
        stored: pd.DataFrame = rows.to_pandas()
        if frame_digest(stored) == record.digest:
            return stored
    except DataError as error:
        fault = error.seen
    raise DataError(
        f"the training set of run {record.run_id} is lost: {fault}; and today's features give "
        + (f"none: {today.fault}" if today.fault else "another one"),
        expected=f"a content with SHA-256 {record.digest}",
        repair=f"restore {record.tags.get('dataset.path', 'it')}",
    )


def _inputs(platform: Platform, record: _Record, today: _Today) -> Iterator[Compared]:
    tags = record.tags
    note = today.fault or "the same rows and values do not come out of the features any more"
    yield _compared("data", record.digest, today.digest or "unreadable", note)
    changes = _changes(platform, record)  # none where the spec only has fields that it had not
    yield Compared("spec", tags["spec.sha256"], spec_digest(platform), not changes, changes)
    commit = tags.get("git.commit", "unknown")
    yield _compared(
        *("code", tags["code.sha256"], platform.code_digest),
        f"check out {commit[:12]} for the code of then",
    )
    lock = "env.lock_sha256"
    yield _compared(
        *("environment", tags.get(lock, "unknown"), platform.code_tags.get(lock, "unknown")),
        "uv.lock has changed: other versions of libraries",
    )


def _changes(platform: Platform, record: _Record) -> str:
    """The fields of the spec that are not as they were."""
    then, now = (_flat(spec.model_dump(mode="json")) for spec in (record.spec, platform.spec))
    return _difference(then, now)


def _outputs(record: _Record, again: Competitor) -> Iterator[Compared]:
    training, tags = record.training, record.tags
    yield _compared("chosen", training["chosen"], again.kind, "another competitor is best")
    then, now = (_flat(one) for one in (training["parameters"], dict(again.parameters)))
    difference = _difference(then, now)
    yield Compared("parameters", _count(then), _count(now), not difference, difference)
    model = sha256(again.files[NATIVE[again.kind]]).hexdigest()
    yield _compared("model", tags["model.sha256"], model, "the file is another one")
    contract = contract_digest(again.files[CONTRACT])
    note = "columns, their order or their categories"
    yield _compared("contract", tags["contract.sha256"], contract, note)
    ends = (tags.get("interval.sha256", "none"), interval_digest(again.files) or "none")
    if ends != ("none", "none"):
        yield _compared("interval", *ends, "the ends around its answers are others")


def _compared(what: str, recorded: str, now: str, note: str) -> Compared:
    is_same = recorded == now
    return Compared(what, recorded, now, is_same, "" if is_same else note)


def _count(values: Mapping[str, Any]) -> str:
    return f"{len(values)} values"


def _difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [name for name in {*then, *now} if then.get(name) != now.get(name)]
    names.sort(key=lambda name: (not name.startswith("model."), name))  # what trees depend on first
    shown = [f"{name} {then.get(name)} → {now.get(name)}" for name in names[:_MOST]]
    more = [f"{len(names) - _MOST} more"] if len(names) > _MOST else []
    return ", ".join([*shown, *more])


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names.

    >>> _flat({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c.0': 2}
    """
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, Mapping):
        return {prefix: content}
    found: dict[str, Any] = {}
    for name, value in content.items():
        found |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return found
