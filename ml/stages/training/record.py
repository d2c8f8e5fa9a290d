"""Everything that a run says of a training."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ml.adapters.tracking_views import shown_metrics
from ml.core.digests import json_digest
from ml.core.losses import Floats
from ml.core.metrics import baseline_costs, cost_metric, evaluate
from ml.core.ports import Platform
from ml.core.statistics import Estimate, Resampling
from ml.core.trained_run import TrainedRun
from ml.core.windows import Windows
from ml.stages import notes, plots
from ml.stages.examples import group_values, naive_values
from ml.stages.training import importance, tables
from ml.stages.training.contest import Contest
from ml.stages.training.material import Material

SPEC, TRAINING, NOTES = "spec.json", "training.json", "notes.md"
_TYPES = {"f": "double", "M": "datetime", "b": "boolean", "i": "long", "u": "long"}


@dataclass(frozen=True)
class Facts:
    """What is known of a training beside what was learned.

    Attributes:
        identity: hash of data, code, spec, and whether it is a trial.
        began: when, by `time.perf_counter`.
        digest, address: of the training set.
        is_trial: an experiment, which is never registered.
        requested_by: who or what asked for it.
    """

    windows: Windows
    identity: str
    began: float
    digest: str
    address: str
    is_trial: bool
    requested_by: str

    @property
    def stage(self) -> str:
        return "trial" if self.is_trial else "train"


@dataclass(frozen=True)
class Record:
    """A training that is done, about to be written down."""

    platform: Platform
    facts: Facts
    material: Material
    contest: Contest

    def run(self) -> TrainedRun:
        """The record as tracking takes it."""
        spec, facts, chosen = self.platform.spec, self.facts, self.contest.chosen
        loss, rows = spec.problem.loss_name, self.material.examples
        shuffled = importance.permutation(self.material, chosen)
        return TrainedRun(
            name=spec.names.run(facts.stage, self._as_of_key),
            identity=facts.identity,
            seconds=time.perf_counter() - facts.began,
            description=self._notes,
            parameters={
                "model": chosen.kind,
                "features": len(chosen.model.contract.inputs),
                **chosen.parameters,
            },
            metrics=dict(self._metrics()),
            tags=self._tags(),
            curves={f"curve/{window}_{loss}": curve for window, curve in chosen.curves.items()},
            figures=self._figures(shuffled),
            tables=self._tables(shuffled),
            documents=self._documents(),
            trials=self.contest.trials,
            dataset_address=facts.address,
            dataset_digest=facts.digest,
            dataset_rows=self._rows,
            dataset_columns={
                str(name): _TYPES.get(kind.kind, "string") for name, kind in rows.dtypes.items()
            },
            model=chosen.files,
            rule=self.contest.rule.files,
            # MLflow has no signature without columns, and a base rate looks at none.
            example=self.material.select[list(chosen.model.columns or self.material.columns)][:5],
        )

    @property
    def _as_of_key(self) -> str:
        return self.platform.spec.calendar.containing(self.facts.windows.as_of).key

    @property
    def _rows(self) -> dict[str, int]:
        return {"fit": len(self.material.fit), "select": len(self.material.select)}

    @cached_property
    def _label(self) -> np.ndarray:
        return self.material.labels(self.material.select)

    @cached_property
    def _draws(self) -> Resampling:
        plan = self.platform.spec.gates
        cluster = self.platform.spec.clusters(self.material.select["partition_key"])
        return Resampling(
            np.array(cluster, dtype=np.str_), replicates=plan.replicates, seed=plan.seed
        )

    @cached_property
    def _naive(self) -> dict[str, Floats]:
        return naive_values(self.platform.spec, self.material.select)

    @cached_property
    def _interval(self) -> Floats | None:
        """Of the chosen one on the select window, shape (n, 2)."""
        return self.contest.chosen.model.interval(self.material.select)

    @cached_property
    def _estimates(self) -> dict[str, Estimate]:
        """Of the chosen one on the select window."""
        spec, contest = self.platform.spec, self.contest
        return evaluate(
            spec.scope,
            self._label,
            contest.chosen.prediction,
            rule=contest.rule.prediction,
            resampling=self._draws,
            cost=spec.cost,
            naive=self._naive,
            interval=self._interval,
        )

    @property
    def _headlines(self) -> dict[str, Estimate]:
        """Without what is said of each class, which stands in a table."""
        return {name: self._estimates[name] for name in shown_metrics(self.platform.spec)}

    @cached_property
    def _groups(self) -> dict[str, np.ndarray]:
        """Month and segments of each row of the select window."""
        select, spec = self.material.select, self.platform.spec
        months = select[spec.decided_at].dt.strftime("%Y-%m").to_numpy("str")
        segments = {column: group_values(select, column) for column in spec.segments}
        return {"month": months, **segments}

    def _metrics(self) -> Iterator[tuple[str, float]]:
        spec, loss = self.platform.spec, self.platform.spec.problem.loss_name
        for name, found in self._headlines.items():
            bounds = {"": found.value, "_lower": found.lower, "_upper": found.upper}
            yield from ((f"select/{name}{end}", value) for end, value in bounds.items())
        for kind, value in self.contest.losses.items():
            yield f"select/{kind}_{loss}", value
        rule = self.contest.rule.prediction
        for how, value in baseline_costs(spec.scope, self._label, spec.cost, rule=rule).items():
            yield f"select/{cost_metric(how)}", value
        yield "latency_us", self.contest.latency_us

    def _tags(self) -> dict[str, str]:
        platform, facts, windows = self.platform, self.facts, self.facts.windows
        spans = {"fit": windows.fit, "select": windows.select, "holdout": windows.holdout}
        return {
            "stage": facts.stage,
            "as_of": windows.as_of.isoformat(),
            "model.kind": self.contest.chosen.kind,
            "latency_us": f"{self.contest.latency_us:.3f}",
            "dataset.sha256": facts.digest,
            "dataset.path": facts.address,
            "feature_service": platform.spec.features.service,
            **{f"window.{name}": f"{span[0].key}..{span[-1].key}" for name, span in spans.items()},
            "code.sha256": platform.code_digest,
            "spec.sha256": spec_digest(platform),
            "requested_by": facts.requested_by,
            "mlflow.source.name": facts.requested_by,
            **platform.code_tags,
        }

    @cached_property
    def _notes(self) -> str:
        return notes.training_notes(
            self.platform.spec,
            windows=self.facts.windows,
            competitors=self.contest.losses,
            chosen=self.contest.chosen.kind,
            metrics=self._headlines,
            rows=self._rows,
            trials=len(self.contest.trials),
            left_out=self.material.left_out,
        )

    def _documents(self) -> dict[str, str]:
        chosen = self.contest.chosen
        training = {
            "chosen": chosen.kind,
            "losses": self.contest.losses,
            "trials": len(self.contest.trials),
            "columns": list(self.material.columns),
            "parameters": dict(chosen.parameters),
            "gain": dict(chosen.gain),
            "rows": self._rows,
            "left_out": self.material.left_out,
            "is_trial": self.facts.is_trial,
        }
        return {
            SPEC: json.dumps(self.platform.spec.model_dump(mode="json"), indent=2),
            TRAINING: json.dumps(training, indent=2),
            NOTES: self._notes,
        }

    def _figures(self, shuffled: dict[str, tuple[float, float]]) -> dict[str, Figure]:
        spec, contest = self.platform.spec, self.contest
        chosen, loss = contest.chosen, spec.problem.loss_name
        figures = plots.evaluation(
            spec.problem,
            self._label,
            chosen.prediction,
            title=f"select window, as of {self._as_of_key}",
            groups=self._groups,
            cost=spec.cost,
            classes=spec.label.classes,
            interval=self._interval,
            nominal=spec.model.interval,
            times=self.material.select[spec.decided_at].to_numpy("datetime64[ns]"),
            naive=self._naive,
        )
        figures["plots/competitors.png"] = plots.competitors(contest.losses, loss_name=loss)
        if chosen.gain:
            figures["plots/importance.png"] = plots.importance(chosen.gain, shuffled)
        if chosen.curves:
            rounds = int(chosen.parameters["rounds"])
            figures["plots/learning_curve.png"] = plots.learning_curve(
                chosen.curves, best=rounds, loss_name=loss
            )
        return figures

    def _tables(self, shuffled: dict[str, tuple[float, float]]) -> dict[str, pd.DataFrame]:
        spec, contest = self.platform.spec, self.contest
        prediction, rule = contest.chosen.prediction, contest.rule.prediction
        found = {
            "competitors": tables.competitors(contest, spec.problem.loss_name),
            "importance": importance.table(
                contest.chosen.model.contract.inputs, contest.chosen, shuffled
            ),
        }
        for name, values in self._groups.items():
            found[f"by_{name}"] = tables.by_group(
                spec.problem, self._label, prediction, rule, values, self._draws
            )
        if spec.label.classes:
            found["by_class"] = tables.by_class(spec.scope, self._label, self._estimates)
        if contest.trials:
            found["trials"] = tables.trials(contest.trials)
        return {f"tables/{name}.json": table for name, table in found.items()}


def spec_digest(platform: Platform) -> str:
    """SHA-256 of the spec as the code has it now."""
    return json_digest(platform.spec.model_dump(mode="json"))
