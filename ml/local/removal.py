"""Take use cases out of the repository, and remember it so that an update does not bring them back.

Only files under the slug are deleted; shared ones are never edited. The record is written first and
each step may be repeated, so whatever interrupts a removal, the same command finishes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ml.adapters.files import exclusive, replacing
from ml.core.errors import ConfigError
from ml.core.names import check_slug
from ml.local.git import Git
from ml.local.slices import Slice, data_of, present
from ml.settings import REPOSITORY, Settings

RECORD = ".flightline/removed"
_HEADER = (
    "# Use cases that this fork does without, one a line: flightline remove SLUG writes it, and\n"
    "# make upstream keeps them out. Take a line out to have a use case back from an update.\n"
)
_JOBS = ("hourly", "daily", "weekly", "monthly", "history", "retrain", "monitor")


@dataclass(frozen=True)
class Removal:
    """What goes with one use case.

    Attributes:
        files: of the repository, in the order in which they go.
        unsaved: those of them that git could not bring back as they are.
        data: of the home; empty unless asked for.
        models: whether its experiment and its registered model go, too.
    """

    slice: Slice
    files: tuple[Path, ...]
    unsaved: tuple[str, ...]
    data: tuple[Path, ...]
    has_data: bool
    models: bool

    @property
    def slug(self) -> str:
        return self.slice.slug

    @property
    def is_empty(self) -> bool:
        return not (self.files or self.has_data or self.models)


def removed(root: Path = REPOSITORY) -> tuple[str, ...]:
    """Slugs in the record."""
    path = root / RECORD
    if not path.exists():
        return ()
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return tuple(sorted({check_slug(line) for line in lines if line}))


def plan(
    slugs: Sequence[str],
    where: Settings,
    *,
    with_data: bool = False,
    with_models: bool = False,
    root: Path = REPOSITORY,
) -> list[Removal]:
    """What would go; nothing is changed.

    Raises:
        ConfigError: if there is, and was, no such use case.
    """
    for slug in slugs:
        check_slug(slug)
    known = {*present(root), *removed(root)}
    if unknown := [slug for slug in dict.fromkeys(slugs) if slug not in known]:
        raise ConfigError(
            f"unknown use case {', '.join(map(repr, unknown))}; nothing was removed",
            expected="one or more of: " + (", ".join(sorted(known)) or "none is there"),
            repair="see: flightline list",
        )
    return [
        _planned(Slice(slug, root), where, with_data=with_data, with_models=with_models)
        for slug in dict.fromkeys(slugs)
    ]


def _planned(found: Slice, where: Settings, *, with_data: bool, with_models: bool) -> Removal:
    git, files = Git(found.root), found.files()
    names = [file.relative_to(found.root).as_posix() for file in files]
    unsaved = git.not_committed(names) if git.is_work_tree else names
    data = data_of(found.slug, where, _dag_ids(found)) if with_data else []
    return Removal(
        found,
        tuple(files),
        tuple(unsaved),
        tuple(data),
        with_data and (bool(data) or _has_features(where)),
        with_models and (bool(where.tracking_uri) or where.mlflow_database.exists()),
    )


def _dag_ids(found: Slice) -> list[str]:
    """Also of Dag files that are gone: what an interrupted removal has left is found again."""
    return sorted({*found.dags(), *(f"{found.slug}_{job}" for job in _JOBS)})


def carry_out(planned: Sequence[Removal], where: Settings) -> None:
    """Delete it, one use case after the other.

    Raises:
        TransientError: if a stage of one of them is running; then nothing is deleted.
    """
    with _nothing_runs(planned, where):
        for removal in planned:
            _record(removal.slice)
            for path in removal.slice.paths():
                delete(path)
            _clean(removal.slice.root)
            if removal.has_data:
                for path in removal.data:
                    delete(path)
                _forget_features(removal.slug, where)
            if removal.models:
                _forget_models(removal.slug, where)
            if removal.has_data:
                where.lock_of(removal.slug).unlink(missing_ok=True)


@contextmanager
def _nothing_runs(planned: Sequence[Removal], where: Settings) -> Iterator[None]:
    """Hold the locks of their stages; where there is no home, nothing can run."""
    with ExitStack() as held:
        if where.home.exists():
            for removal in planned:
                held.enter_context(exclusive(where.lock_of(removal.slug)))
        yield


def delete(path: Path) -> None:
    """A file, a link or a folder with all that is in it; fine if there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _clean(root: Path) -> None:
    """Folders that held nothing but use cases, and are empty now."""
    for name in ("tests/use_cases", "dbt_project/seeds", "docs/runbooks"):
        folder = root / name
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _record(found: Slice) -> None:
    """Add it to the record, which is committed with the deletion."""
    path, slugs = found.root / RECORD, removed(found.root)
    if found.slug not in slugs:
        path.parent.mkdir(exist_ok=True)
        text = _HEADER + "".join(f"{slug}\n" for slug in sorted({*slugs, found.slug}))
        with replacing(path) as temporary:
            temporary.write_text(text)


def _has_features(where: Settings) -> bool:
    return (where.home / "feast" / "registry.sqlite").exists()


def _forget_features(slug: str, where: Settings) -> None:
    """Its project in Feast's registry, with all that is defined in it."""
    if not _has_features(where):
        return
    from feast.errors import ProjectNotFoundException, ProjectObjectNotFoundException
    from feast.infra.registry.sql import SqlRegistry, SqlRegistryConfig

    path = f"sqlite:///{where.home / 'feast' / 'registry.sqlite'}"
    config = SqlRegistryConfig(registry_type="sql", path=path, cache_ttl_seconds=0)
    try:
        SqlRegistry(config, slug, None).delete_project(slug)
    except (ProjectNotFoundException, ProjectObjectNotFoundException):
        return


def _forget_models(slug: str, where: Settings) -> None:
    """Its registered model with all versions, its experiment with all runs, and their files.

    MLflow keeps a deleted experiment and its name: under another one, the name is free again.
    """
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException

    from ml.adapters.connect import tracking_uri
    from ml.adapters.mlflow_client import client, mlflow_errors

    uri = tracking_uri(where)
    with mlflow_errors(uri):
        mlflow = client(uri)
        try:
            mlflow.delete_registered_model(slug)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        for found in mlflow.search_experiments(
            view_type=ViewType.ALL, filter_string=f"name = '{slug}'"
        ):
            if found.lifecycle_stage == "deleted":
                mlflow.restore_experiment(found.experiment_id)  # or it cannot be renamed
            mlflow.rename_experiment(found.experiment_id, f"{slug} removed {found.experiment_id}")
            mlflow.delete_experiment(found.experiment_id)
    delete(where.artifacts / slug)


def again(root: Path = REPOSITORY) -> tuple[list[Slice], list[str]]:
    """What an update has brought back of the recorded use cases.

    Returns:
        Those to delete, and the slugs whose spec is there without having come by a merge.
    """
    git, found, own = Git(root), [], []
    for slug in removed(root):
        spec = f"ml/use_cases/{slug}/spec.py"
        if git.is_work_tree and (root / spec).exists() and not git.came_by_merge(spec):
            own.append(slug)
        else:
            found.append(Slice(slug, root))
    return found, own


def remove_again(found: Sequence[Slice]) -> list[str]:
    """Delete what is there of them, and settle their conflicts; the names of what was deleted."""
    deleted = []
    for one in found:
        deleted += [file.relative_to(one.root).as_posix() for file in one.files()]
        git = Git(one.root)
        if git.is_work_tree:
            index = git.lines("ls-files", "-z", "--", "dags")
            stems = (Path(n).stem for n in index if n.count("/") == 1 and n.endswith(".py"))
            dags = [f"dags/{stem}.py" for stem in one.dags(stems)]
            git.forget([*dags, one.runbook, *one.folders])
        for path in one.paths():
            delete(path)
        _clean(one.root)
    return sorted(deleted)
