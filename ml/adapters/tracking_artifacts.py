"""What runs keep as files: figures, tables that MLflow's pages can open, documents."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ml.core.errors import TransientError

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

TABLES_TAG = "mlflow.loggedArtifacts"  # by it MLflow's pages know which files are tables


@dataclass(frozen=True)
class Artifacts:
    """Files by their path below a run.

    Attributes:
        figures: Matplotlib figures.
        texts: written as they are.
        files: the same for bytes.
    """

    figures: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    def log(self, client: MlflowClient, run_id: str) -> None:
        """Store all of them at once; what a run has at these paths is replaced."""
        with tempfile.TemporaryDirectory() as name:
            self._write(Path(name))
            client.log_artifacts(run_id, name)

    def _write(self, folder: Path) -> None:
        paths = (*self.figures, *self.tables, *self.texts, *self.files)
        for path in {folder / path for path in paths}:
            path.parent.mkdir(parents=True, exist_ok=True)
        for name, figure in self.figures.items():
            figure.savefig(folder / name)
        for name, table in self.tables.items():
            # The format of mlflow.log_table, which would append to a table that is there.
            table.to_json(folder / name, orient="split", index=False, date_format="iso")
        for name, text in self.texts.items():
            (folder / name).write_text(text)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)

    def tags(self, present: str = "[]") -> dict[str, str]:
        """The tag that lists the run's tables, these added to those that are `present`."""
        listed = {entry["path"]: entry for entry in json.loads(present)}
        listed |= {name: {"path": name, "type": "table"} for name in self.tables}
        return {TABLES_TAG: json.dumps(list(listed.values()))} if listed else {}


@contextmanager
def downloaded(client: MlflowClient, run_id: str, path: str) -> Iterator[Path]:
    """A file or folder of a run, for as long as the context lasts.

    Raises:
        OSError: if there is none, as far as MLflow says so.
        MlflowException: the same.
        TransientError: if it is there, and cannot be copied.
    """
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            copy = Path(client.download_artifacts(run_id, path, folder))
        except MlflowException as error:
            if not _is_listed(client, run_id, path):
                raise
            raise TransientError(  # MLflow drops the reason
                f"cannot copy {path} of run {run_id} to {folder}",
                expected="space on that disk, and files of runs that this user may read",
                repair=f"free space below {Path(folder).parent}, then run this again",
            ) from error
        yield copy


def _is_listed(client: MlflowClient, run_id: str, path: str) -> bool:
    folder = PurePosixPath(path).parent.as_posix()
    listed = client.list_artifacts(run_id, None if folder == "." else folder)
    return any(file.path == path for file in listed)
