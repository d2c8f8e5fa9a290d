"""For notebooks and scripts: the platform's data as data frames.

Example:
    from ml.notebook import training_set

    rows = training_set("flight_delay", as_of="2013-06-01")
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def training_set(slug: str, *, as_of: str | date = "") -> pd.DataFrame:
    """What a model of `slug` trained as of this partition's start would see.

    Args:
        as_of: partition key, or a date; default: the end of the newest ingested data.

    Returns:
        One row for each labelled event of the fit and select windows: `window`, the key, the
        partition key, the decision time, the label, when it was known, and the features as
        float64, as of each row's decision time.

    Raises:
        DataError: if a partition was not transformed, or a window has fewer than two classes.
    """
    from ml.stages.runner import opened
    from ml.stages.training_set import read_training_set

    with opened(slug) as platform:
        time = platform.spec.as_of(str(as_of)) if as_of else platform.data_time()
        return read_training_set(platform, platform.spec.windows(time))


def examples(slug: str, first: str, last: str = "") -> pd.DataFrame:
    """The events of these partitions with label and features, whether the label is known or not.

    Args:
        first, last: partition keys, both included; `last` defaults to `first`.

    Returns:
        As `training_set`, without `window`.
    """
    from ml.stages.examples import read_examples
    from ml.stages.runner import opened

    with opened(slug) as platform:
        return read_examples(platform, platform.spec.partitions(first, last or first))


def predictions(slug: str, first: str = "", last: str = "") -> pd.DataFrame:
    """What was predicted for the events of these partitions, and what became of them.

    Args:
        first, last: partition keys, both included; default: the newest that was scored.

    Returns:
        One row for each prediction of the newest release that answered the partition: the mart's
        columns, `score` and who gave it, each model's score, and the label where it is known; of
        classes also the one that is decided for (`decision`), its `probability` and that of each
        class (`p_<class>`), of values the interval (`lower`, `upper`) if the model has one.

    Raises:
        DataError: if there are no predictions, naming what there is.
    """
    from ml.adapters.connect import connect
    from ml.settings import settings
    from ml.stages.predictions import read_predictions

    return read_predictions(connect(slug, settings()), first, last or first)
