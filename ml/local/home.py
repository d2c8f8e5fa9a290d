"""Whether a folder is a home, before anything deletes it: a wrong path costs nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ml.core.errors import ConfigError

# Never deleted: whoever waits for one of them would go on with a lock that nobody else sees.
LOCKS = ("platform.lock", "locks")
# Everything that the platform and its stages put into a home; what else is there is a person's.
# Training sets lie in the lake now; homes that were made before have a folder of them.
_OWN_ENTRIES = re.compile(
    r"airflow|bench|dbt|feast|lake|locks|logs|mlflow|reports|tmp|training_sets|warehouse"
    r"|platform\.lock|(secrets|platform|state)\.json"
    r"|\.(secrets|platform|state)\.json\.\d+(\.[0-9a-f]{8})?"  # half-written
)
# A file system puts it where it is mounted, and only root may delete it.
_OF_THE_SYSTEM = "lost+found"


def entries(home: Path) -> Iterator[Path]:
    """What a home holds beside its locks."""
    return (path for path in home.iterdir() if path.name not in (*LOCKS, _OF_THE_SYSTEM))


def require_own(home: Path) -> None:
    """To be asked before the first lock is taken: that alone makes a folder look like a home.

    The first start makes the one of them, the first stage the other: names like `logs` alone prove
    nothing.

    Raises:
        ConfigError: if anything in the folder is not the platform's.
    """
    found = sorted(path.name for path in home.iterdir() if path.name != _OF_THE_SYSTEM)
    if strange := [name for name in found if not _OWN_ENTRIES.fullmatch(name)]:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise _not_a_home(home, f"holds {', '.join(strange[:3])}{more}")
    if found and not any(mark in found for mark in LOCKS):
        raise _not_a_home(home, f"has neither {' nor '.join(LOCKS)}")


def _not_a_home(home: Path, seen: str) -> ConfigError:
    return ConfigError(
        f"nothing was deleted: {home} {seen}",
        expected="only what the platform makes",
        repair="check MLOPS_HOME; move what is yours elsewhere, or delete the folder by hand",
    )
