"""Faults of models: in what training sees, in stored files, in answers. Gates stay as they are."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support import SLUG, copy_home, platform_at

from ml.adapters.model_files import CONTRACT, Contract
from ml.core import gates
from ml.core.errors import DataError
from ml.core.evidence import Evidence
from ml.core.plans import GatePlan
from ml.core.ports import Platform
from ml.core.spec import UseCase
from ml.stages import train, validate

Frame = Callable[[pd.DataFrame], pd.DataFrame]
Answer = Callable[[np.ndarray, pd.DataFrame], np.ndarray]
LABEL = "is_late"
FIRST, SECOND = 1, 2  # versions of the chain: the first model ever is the second one's champion


class _Wrapped:
    """Anything, but for what a subclass changes."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


# --- features: what training or serving sees ---


class _Features(_Wrapped):
    def __init__(self, real: Any, change: Frame) -> None:
        super().__init__(real)
        self._change = change

    def historical(self, events: pd.DataFrame, decided_at: str) -> pd.DataFrame:
        return self._change(self._real.historical(events, decided_at))


def with_features(platform: Platform, change: Frame) -> Platform:
    """The same platform, whose features read as `change` makes them."""
    return dataclasses.replace(platform, features=_Features(platform.features, change))


class _Remembered(_Wrapped):
    def __init__(self, real: Any) -> None:
        super().__init__(real)
        self._found: dict[tuple[Any, ...], pd.DataFrame] = {}

    def historical(self, events: pd.DataFrame, decided_at: str) -> pd.DataFrame:
        asked = tuple(events["flight_id"])
        if asked not in self._found:
            self._found[asked] = self._real.historical(events, decided_at)
        return self._found[asked].copy()


def remembering(platform: Platform) -> Platform:
    """The same platform, which reads the features of the same events from Feast once."""
    return dataclasses.replace(platform, features=_Remembered(platform.features))


class _Ahead(_Wrapped):
    def historical(self, events: pd.DataFrame, decided_at: str) -> pd.DataFrame:
        later = events.assign(**{decided_at: events[decided_at] + timedelta(hours=6)})
        found: pd.DataFrame = self._real.historical(later, decided_at)
        return found.assign(**{decided_at: events[decided_at]})


def six_hours_ahead(platform: Platform) -> Platform:
    """The same platform, whose store joins what it knew six hours after each decision."""
    return dataclasses.replace(platform, features=_Ahead(platform.features))


class _Timeless(_Wrapped):
    def get_historical_features(self, *arguments: Any, **options: Any) -> Any:
        options["filter_by_created_timestamp"] = False
        return self._real.get_historical_features(*arguments, **options)


def without_created_times(platform: Platform) -> Platform:
    """The same platform, whose store does not ask when a row became known."""
    from ml.adapters.features import FeastFeatures

    features = FeastFeatures(platform.spec, platform.features.settings)  # type: ignore[attr-defined]  # the adapter's
    vars(features)["_store"] = _Timeless(features._store)
    return dataclasses.replace(platform, features=features)


def correct_late(home: Path, view: str, key: str) -> None:
    """Each row of a day's export once more, corrected a day after the original was known."""
    [path] = (home / "lake" / "features" / SLUG / view).rglob(f"partition_key={key}/*.parquet")
    rows = pq.ParquetFile(path).read()
    created = pc.add(rows["created_at"], pa.scalar(timedelta(days=1)))
    position = rows.column_names.index("created_at")
    corrected = rows.set_column(
        position, rows.field(position), created.cast(rows.field(position).type)
    )
    pq.write_table(pa.concat_tables([rows, corrected]), path)


def only_schedule(frame: pd.DataFrame) -> pd.DataFrame:
    """F1: what is in the timetable, and nothing of the day."""
    others = [name for name in frame.columns if "__" in name and "schedule" not in name]
    return frame.assign(**dict.fromkeys(others, np.nan))


def scaled(part: str, by: float) -> Frame:
    """F2: columns whose name contains `part`, in another unit."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        columns = [name for name in frame.columns if part in name]
        assert columns, part
        return frame.assign(**{name: frame[name] * by for name in columns})

    return change


def stuck(part: str, value: float = 0.0) -> Frame:
    """F8: columns whose name contains `part`, at one value whatever happens."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        columns = [name for name in frame.columns if part in name]
        assert columns, part
        return frame.assign(**dict.fromkeys(columns, value))

    return change


def leaked(platform: Platform, column: str) -> Frame:
    """F5: a feature that is computed from the outcome."""
    labels = platform.lake.read("marts", platform.spec.label.table).to_pandas()
    delays = labels.set_index("flight_id")["arrival_delay_min"].astype("float64")

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{column: delays.reindex(frame["flight_id"]).to_numpy()})

    return change


# --- labels: for `support.with_labels` ---


def half_of_the_late_lost(labels: pd.DataFrame) -> pd.DataFrame:
    """F3: every second late flight has no outcome."""
    late = labels[LABEL] == 1
    return labels.assign(**{LABEL: labels[LABEL].mask(late & (late.cumsum() % 2 == 0))})


def only_since(first: str) -> Frame:
    """F4: nothing before this partition."""
    return lambda labels: labels.assign(
        **{LABEL: labels[LABEL].where(labels["partition_key"].astype(str) >= first)}
    )


def never_late(carrier: str) -> Frame:
    """F7: an airline's delays are not reported."""

    def change(labels: pd.DataFrame) -> pd.DataFrame:
        of_carrier = labels["flight_id"].str.split("-").str[1] == carrier
        assert of_carrier.any(), carrier
        return labels.assign(**{LABEL: labels[LABEL].mask(of_carrier & labels[LABEL].notna(), 0)})

    return change


# --- models: what a version answers, and what was recorded of it ---


class _Model(_Wrapped):
    def __init__(self, real: Any, inputs: Frame | None, answers: Answer | None) -> None:
        super().__init__(real)
        self._inputs, self._answers = inputs, answers

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        found = self._real.predict(self._inputs(rows) if self._inputs else rows)
        return self._answers(found, rows) if self._answers else found


class _Tracking(_Wrapped):
    def __init__(
        self,
        real: Any,
        run_id: str,
        inputs: Frame | None = None,
        answers: Answer | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(real)
        self._run_id, self._changes, self._tags = run_id, (inputs, answers), tags or {}

    def load_model(self, run_id: str, **options: Any) -> Any:
        model = self._real.load_model(run_id, **options)
        return _Model(model, *self._changes) if run_id == self._run_id else model

    def tags(self, run_id: str) -> Mapping[str, str]:
        found: Mapping[str, str] = self._real.tags(run_id)
        return {**found, **self._tags} if run_id == self._run_id else found


def _with_tracking(platform: Platform, version: int, **changes: Any) -> Platform:
    run_id = platform.registry.version(version).run_id
    changed = _Tracking(platform.tracking, run_id, **changes)
    return dataclasses.replace(platform, tracking=changed)


def with_answers(platform: Platform, version: int, change: Answer) -> Platform:
    """The same platform, where a version answers what `change` makes of its honest answers.

    `change` gets the rows, too, with their labels: so it can also make a model better.
    """
    return _with_tracking(platform, version, answers=change)


def with_inputs(platform: Platform, version: int, change: Frame) -> Platform:
    """The same platform, where one version sees what `change` makes of the rows."""
    return _with_tracking(platform, version, inputs=change)


def with_run_tags(platform: Platform, version: int, tags: Mapping[str, str]) -> Platform:
    """The same platform, where something else was recorded of a version's training."""
    return _with_tracking(platform, version, tags=tags)


def towards_truth(answers: np.ndarray, rows: pd.DataFrame, share: float) -> np.ndarray:
    """A better model: part of the way from its answer to the outcome."""
    return answers + share * (rows[LABEL].to_numpy("float64") - answers)


def remap_categories(platform: Platform, home: Path, version: int, *values: str) -> None:
    """F6: in the stored file, the carriers' codes go round; or of these carriers only."""
    tags = platform.tracking.tags(platform.registry.version(version).run_id)
    model_id = tags["model.uri"].removeprefix("models:/")
    path = next(file for file in home.rglob(CONTRACT) if model_id in file.parts)
    contract = Contract.from_bytes(path.read_bytes())
    carriers = contract.categories["carrier"]
    moved = [name for name in carriers if name in values or not values]
    new = dict(zip(moved, [*moved[1:], moved[0]], strict=True))
    categories = {**contract.categories, "carrier": tuple(new.get(c, c) for c in carriers)}
    path.write_bytes(dataclasses.replace(contract, categories=categories).to_bytes())


# --- verdicts ---


def stored_evidence(platform: Platform, version: int) -> dict[str, Any]:
    run_id = platform.registry.version(version).run_id
    evidence = platform.tracking.evidence(run_id)
    assert evidence is not None
    found: dict[str, Any] = json.loads(json.dumps(evidence))
    return found


def stored_verdicts(evidence: Mapping[str, Any]) -> dict[str, str]:
    return {gate["name"]: gate["verdict"] for gate in evidence["gates"]}


def tripped(evidence: Mapping[str, Any]) -> set[str]:
    """Names of the gates that did not pass."""
    return {name for name, verdict in stored_verdicts(evidence).items() if verdict != "PASS"}


def without_criteria(plan: GatePlan, names: set[str]) -> GatePlan:
    kept = tuple(one for one in plan.criteria if one.gate not in names)
    return plan.model_copy(update={"criteria": kept})


def decision_without(
    evidence: Mapping[str, Any], names: set[str], patch: pytest.MonkeyPatch
) -> gates.Decision:
    """What the same evidence leads to where somebody has taken these gates away."""
    kept = {name: gate for name, gate in gates.GATES.items() if name not in names}
    patch.setattr(gates, "GATES", kept)
    plan = without_criteria(GatePlan.model_validate(evidence["plan"]), names)
    return gates.decide(gates.judge(plan, Evidence.from_plain(evidence["facts"])))


# --- where they are planted ---


@dataclass
class Workshop:
    """A copy of the chain's home, where candidates with faults are trained: each once."""

    home: Path
    platform: Platform
    _versions: dict[str, int] = field(default_factory=dict)

    def trained(self, name: str, platform: Platform) -> int:
        """Version of a candidate that learned from what this platform shows."""
        if name not in self._versions:
            import mlflow

            # MLflow looks a logged model up at the process's address, which a copy has changed.
            mlflow.set_tracking_uri(self.platform.tracking.uri)  # type: ignore[attr-defined]
            as_of = platform.spec.as_of("2013-03-20")
            self._versions[name] = train.run(platform, as_of=as_of).version
        return self._versions[name]

    def copy(self, name: str) -> Workshop:
        """A copy to break; what was read of the features stays read."""
        home = copy_home(self.home, self.home.parent / name)
        there = platform_at(home, self.platform.spec)
        return Workshop(home, dataclasses.replace(there, features=self.platform.features))


def open_workshop(chain: Path, folder: Path, spec: UseCase) -> Iterator[Workshop]:
    """A workshop in a copy of this home; for a fixture."""
    home = copy_home(chain, folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        # Pictures cost a second each and have tests of their own.
        patch.setattr("ml.stages.plots.evaluation", lambda *_, **__: {})
        yield Workshop(home, remembering(platform_at(home, spec)))


def judged(platform: Platform, version: int) -> dict[str, Any]:
    """Validate, and give what was stored of it."""
    with suppress(DataError):  # that it cannot be judged: the evidence says why
        validate.run(platform, version=version)
    return stored_evidence(platform, version)
