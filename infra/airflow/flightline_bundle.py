"""The folder of Dag files, where a Dag counts as changed when its use case's spec has changed.

Airflow reads a file anew as soon as its time of modification is later than its last parse. A Dag
file of this platform is a line; what the Dag is made from stands in the spec and in shared code.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from airflow.dag_processing.bundles.local import LocalDagBundle  # noqa: TID251  # a plug-in of Airflow's

_REPOSITORY = Path(__file__).resolve().parents[2]


class RepositoryBundle(LocalDagBundle):
    """Airflow's own bundle of a local folder, but for `refresh`.

    Args:
        repository: what the Dags are made from lies below it.
    """

    def __init__(self, *, repository: str = str(_REPOSITORY), **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._repository = Path(repository)

    def refresh(self) -> None:
        """Give a Dag file the time of its newest ingredient, if that is later than its own."""
        shared = [self._repository / folder for folder in ("dags/orchestration", "ml/core")]
        newest_shared = _newest(path for folder in shared for path in folder.glob("*.py"))
        use_cases = self._repository / "ml" / "use_cases"
        slugs = sorted((path.parent.name for path in use_cases.glob("*/spec.py")), key=len)
        for file in self.path.glob("*.py"):
            # The longest: `co2` must not take the Dags of `co2_trend`.
            slug = next((s for s in reversed(slugs) if file.stem.startswith(f"{s}_")), None)
            own = _newest((use_cases / slug).glob("*.py")) if slug else 0
            changed = max(newest_shared, own)
            with contextlib.suppress(OSError):  # read-only where code comes in an image: no edits
                if file.stat().st_mtime_ns < changed:
                    os.utime(file, ns=(changed, changed))


def _newest(paths: Iterable[Path]) -> int:
    """Nanoseconds since 1970; 0 if there is none."""
    found = 0
    for path in paths:
        with contextlib.suppress(OSError):  # it may be gone by now
            found = max(found, path.stat().st_mtime_ns)
    return found
