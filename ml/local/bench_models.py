"""What making, judging and using a model costs, beside LightGBM alone, in one run.

On the demo's story: the second training, which has a champion to be compared with. Run it with
`make bench`.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import lightgbm
from rich.table import Table

from ml.adapters.connect import connect
from ml.core.errors import ConfigError
from ml.core.ports import Platform
from ml.core.prediction_source import Source
from ml.core.trained_run import TrainedRun
from ml.render import console
from ml.settings import Settings
from ml.stages import ingest, promote, score, train, transform, validate
from ml.stages.examples import model_columns
from ml.stages.training.boosting import fit_boosted
from ml.stages.training.material import Material
from ml.stages.training_set import read_training_set
from ml.use_cases import demo_slug

_REPEATS = 3


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Timed:
    """The real tracking; it remembers how long the recording of a training took."""

    def __init__(self, real: Any) -> None:
        self._real, self.seconds = real, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def log_training(self, run: TrainedRun) -> str:
        start = time.perf_counter()
        run_id: str = self._real.log_training(run)
        self.seconds = time.perf_counter() - start
        return run_id


def without_search(platform: Platform, parameters: dict[str, Any]) -> Platform:
    """The same use case with these parameters fixed."""
    model = platform.spec.model.model_copy(update={"parameters": parameters, "search": None})
    return dataclasses.replace(platform, spec=platform.spec.model_copy(update={"model": model}))


def training(platform: Platform, material: Material) -> tuple[float, float]:
    """Seconds of our competitor, to its files and its loss, and of LightGBM alone.

    Both get the same matrix and parameters, the search is left out; median of a few pairs.
    """
    plain = dict(fit_boosted(material).parameters)
    del plain["rounds"]  # found by early stopping, by both
    pairs = []
    for _ in range(_REPEATS):
        ours = _seconds(lambda: fit_boosted(material))
        bare = _seconds(lambda: _bare(platform, material, plain))
        pairs.append((ours, bare))
    return median(ours for ours, _ in pairs), median(bare for _, bare in pairs)


def _bare(platform: Platform, material: Material, parameters: dict[str, Any]) -> None:
    """As a notebook would do it: the matrix, early stopping, a prediction, a file."""
    plan = platform.spec.model
    fit, select = material.matrix
    data = lightgbm.Dataset(
        fit, material.labels(material.fit), categorical_feature=material.categorical
    )
    stopping = lightgbm.early_stopping(plan.early_stopping_rounds, verbose=False)
    held = data.create_valid(select, material.labels(material.select))
    booster = lightgbm.train(
        parameters, data, plan.max_rounds, valid_sets=[held], callbacks=[stopping]
    )
    booster.predict(select, num_threads=1)
    booster.model_to_string()


def main() -> None:
    """Measure and print; never fails because of a figure."""
    slug = demo_slug()
    table = Table("measure", "seconds", "aim", box=None)
    with tempfile.TemporaryDirectory(prefix="flightline-bench-") as folder:
        platform = connect(slug, Settings(home=Path(folder) / "home"))
        spec = platform.spec
        if spec.demo is None:
            raise ConfigError(f"{slug} has no demo", expected="a use case with one")
        first, second = spec.demo.first_as_of, spec.demo.retrain_as_of
        days = spec.partitions(spec.coverage.first, second)
        ingest.run(platform, partitions=days)
        transform.run(platform, partitions=days)
        platform.features.apply()

        champion = train.run(platform, as_of=spec.as_of(first)).version
        validate.run(platform, version=champion)
        promote.run(platform, version=champion)
        timed = Timed(platform.tracking)
        watched = dataclasses.replace(platform, tracking=timed)
        begin = time.perf_counter()
        challenger = train.run(watched, as_of=spec.as_of(second))
        whole = time.perf_counter() - begin

        examples = read_training_set(platform, spec.windows(spec.as_of(second)))
        fixed = without_search(platform, dict(spec.model.parameters))
        material = Material(fixed.spec, examples, tuple(model_columns(platform)))
        ours, bare = training(fixed, material)
        judged = _seconds(lambda: validate.run(platform, version=challenger.version))
        score.run(platform, partitions=days[-1:], source=Source.SCORE)
        scored = _seconds(lambda: score.run(platform, partitions=days[-1:], source=Source.SCORE))

        table.add_row("record a training in MLflow", f"{timed.seconds:.2f}", "3")
        replicates = spec.gates.replicates
        table.add_row(f"validate, {replicates:,} replicates", f"{judged:.2f}", "10")
        table.add_row("score a day, after imports", f"{scored:.2f}", "2")
        table.add_row("train, all of it", f"{whole:.2f}", "")
    out = console()
    out.print(
        f"LightGBM: ours {ours:.2f} s, alone {bare:.2f} s, [bold]{ours / bare:.2f}[/] (aim 1.3)"
    )
    out.print(table)


if __name__ == "__main__":
    main()
