"""What making, judging and using a model costs, beside LightGBM alone.

On the demo's story: the second training, which has a champion to be compared with.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import lightgbm

from ml.adapters.connect import connect
from ml.core.errors import ConfigError
from ml.core.ports import Platform
from ml.core.prediction_source import Source
from ml.core.trained_run import TrainedRun
from ml.local.bench.figures import REPEATS, Figure, ratio, wall_seconds
from ml.settings import Settings
from ml.stages import ingest, promote, score, train, transform, validate
from ml.stages.examples import model_columns
from ml.stages.training.boosting import fit_boosted
from ml.stages.training.material import Material
from ml.stages.training_set import read_training_set
from ml.use_cases import demo_slug


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
    for _ in range(REPEATS):
        ours = wall_seconds(lambda: fit_boosted(material))
        bare = wall_seconds(lambda: _bare(platform, material, plain))
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


def measure() -> Iterator[Figure]:
    slug = demo_slug()
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
        challenger = train.run(watched, as_of=spec.as_of(second)).version
        whole = time.perf_counter() - begin

        examples = read_training_set(platform, spec.windows(spec.as_of(second)))
        fixed = without_search(platform, dict(spec.model.parameters))
        material = Material(fixed.spec, examples, tuple(model_columns(platform)))
        yield ratio("LightGBM: ours, alone", *training(fixed, material), aim=1.3)
        yield Figure("record a training in MLflow", timed.seconds, "s", 3)
        judged = wall_seconds(lambda: validate.run(platform, version=challenger))
        yield Figure(f"validate, {spec.gates.replicates:,} replicates", judged, "s", 10)
        score.run(platform, partitions=days[-1:], source=Source.SCORE)
        scored = wall_seconds(
            lambda: score.run(platform, partitions=days[-1:], source=Source.SCORE)
        )
        yield Figure("score a day, after imports", scored, "s", 2)
        yield Figure("train, all of it", whole, "s")
