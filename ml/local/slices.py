"""Which files of a repository and of a home belong to a use case: all are under its slug."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ml.core.names import Names
from ml.settings import REPOSITORY, Settings

FOLDERS = (
    "dbt_project/models/{slug}",
    "dbt_project/seeds/{slug}",
    "feature_repo/{slug}",
    "tests/use_cases/{slug}",
    "ml/use_cases/{slug}",  # last: while it is there, the use case is known
)


@dataclass(frozen=True)
class Slice:
    """The files of one use case, whether they are there or not.

    Attributes:
        root: the repository.
    """

    slug: str
    root: Path = REPOSITORY

    @property
    def folders(self) -> tuple[str, ...]:
        return tuple(folder.format(slug=self.slug) for folder in FOLDERS)

    @property
    def runbook(self) -> str:
        return Names(self.slug).runbook

    def dags(self, names: Iterable[str] | None = None) -> list[str]:
        """Stems of its Dag files, sorted.

        Args:
            names: stems to choose from; default: the files that are there.
        """
        if names is None:
            names = (path.stem for path in (self.root / "dags").glob("*.py"))
        others = [s for s in _known(self.root) if s.startswith(f"{self.slug}_")]
        mine = (name for name in names if name.startswith(f"{self.slug}_"))
        # `co2` must not take the Dags of `co2_trend`.
        return sorted(n for n in mine if not any(n.startswith(f"{s}_") for s in others))

    def paths(self) -> list[Path]:
        """Files and folders that are there, in the order in which they go: Dags first."""
        wanted = [*(f"dags/{stem}.py" for stem in self.dags()), self.runbook, *self.folders]
        return [self.root / name for name in wanted if _is_there(self.root / name)]

    def files(self) -> list[Path]:
        """The same, file by file; what Python keeps beside them is not told."""
        return [
            file
            for path in self.paths()
            for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
            if (file.is_file() or file.is_symlink()) and "__pycache__" not in file.parts
        ]


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _known(root: Path) -> list[str]:
    return [path.parent.name for path in (root / "ml" / "use_cases").glob("*/spec.py")]


def present(root: Path = REPOSITORY) -> tuple[str, ...]:
    """Slugs of which any file is there, whole or not: a half-removed one is seen, too."""
    found = {
        path.name
        for folder in FOLDERS
        for path in (root / folder.format(slug="")).glob("*/")
        if path.is_dir() and any(p.is_file() and p.suffix != ".pyc" for p in path.rglob("*"))
    }
    return tuple(sorted(found - {"__pycache__"}))


def data_of(slug: str, where: Settings, dags: Iterable[str]) -> list[Path]:
    """What a home holds of a use case, its models apart.

    Args:
        dags: ids of its Dags, for their logs.
    """

    def found() -> Iterator[Path]:
        home = where.home
        yield from sorted(home.glob(f"lake/*/{slug}"))
        for folder in ("warehouse", "feast", "reports"):
            yield from sorted(home.glob(f"{folder}/{slug}.*"))
        for folder in ("dbt", "logs/dbt", "tmp", "training_sets"):
            yield home / folder / slug
        for dag in dags:
            yield where.airflow_home / "logs" / f"dag_id={dag}"

    return [path for path in found() if _is_there(path)]
