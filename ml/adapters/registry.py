"""The model registry with MLflow: versions, and what is released.

Every revision is a tag of the registered model, written once; `release.manifest` repeats the
newest, and aliases and version tags are its projection for people and for `models:/name@champion`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ml.adapters.mlflow_client import client, mlflow_errors
from ml.adapters.tracking_notes import model_notes
from ml.adapters.version_tags import pack, unpack
from ml.core.errors import ConfigError, DataError, TransientError
from ml.core.names import CANARY, CHAMPION, PREVIOUS
from ml.core.ports import ModelVersion
from ml.core.release import Release
from ml.core.spec import UseCase

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

_REVISION = "release.revision."
_MANIFEST = "release.manifest"


@dataclass(frozen=True)
class MlflowRegistry:
    """Implements `ml.core.ports.Registry`."""

    spec: UseCase
    uri: str

    @cached_property
    def _client(self) -> MlflowClient:
        return client(self.uri)

    @property
    def _name(self) -> str:
        return self.spec.names.registered_model

    def _ensure_model(self) -> None:
        notes = model_notes(self.spec)
        found = self._client.search_registered_models(f"name = '{self._name}'")
        if not found:
            self._client.create_registered_model(self._name, description=notes)
        elif found[0].description != notes:
            self._client.update_registered_model(self._name, description=notes)

    def register(
        self, run_id: str, tags: Mapping[str, str], *, description: str = ""
    ) -> ModelVersion:
        with mlflow_errors(self.uri):
            self._ensure_model()
            query = f"name = '{self._name}' and run_id = '{run_id}'"
            found = list(self._client.search_model_versions(query))
            if not found:
                uri = self._client.get_run(run_id).data.tags["model.uri"]
                # Not mlflow.register_model: it talks on stderr, which Airflow shows as errors.
                found = [
                    self._client.create_model_version(
                        self._name,
                        source=uri,
                        run_id=run_id,
                        tags=pack(tags, {}),
                        description=description,
                        model_id=uri.removeprefix("models:/"),
                        await_creation_for=0,
                    )
                ]
            return self._version(min(found, key=lambda version: int(version.version)))

    def describe(self, version: int, description: str) -> None:
        with mlflow_errors(self.uri):
            self._client.update_model_version(self._name, str(version), description=description)

    def version(self, version: int) -> ModelVersion:
        for found in self.versions():
            if found.version == version:
                return found
        raise ConfigError(
            f"there is no version {version} of {self._name}",
            expected="one of " + (", ".join(str(v.version) for v in self.versions()) or "none yet"),
            repair=f"run: flightline status {self._name}",
        )

    def versions(self) -> tuple[ModelVersion, ...]:
        with mlflow_errors(self.uri):
            found = self._client.search_model_versions(f"name = '{self._name}'")
            aliases = self._aliases() if found else {}
        return tuple(
            self._version(version, aliases)
            for version in sorted(found, key=lambda version: int(version.version))
        )

    def _version(
        self, found: MlflowVersion, aliases: Mapping[str, str] | None = None
    ) -> ModelVersion:
        page = f"{self.uri}/#/models/{self._name}/versions/{found.version}"
        url = f"{page}?workflowType=machine_learning"
        return ModelVersion(
            version=int(found.version),
            run_id=str(found.run_id),
            tags=unpack(found.tags),
            aliases=tuple(
                name for name, held in (aliases or {}).items() if int(held) == int(found.version)
            ),
            url=url if self.uri.startswith("http") else "",
            description=found.description or "",
        )

    def _aliases(self) -> dict[str, str]:
        # search_model_versions shows no aliases; a fault that is open upstream.
        return dict(self._client.get_registered_model(self._name).aliases)

    def tag(self, version: int, tags: Mapping[str, str]) -> None:
        with mlflow_errors(self.uri):
            present = self._client.get_model_version(self._name, str(version)).tags
            for name, value in pack(tags, present).items():
                self._client.set_model_version_tag(self._name, str(version), name, value)

    def releases(self) -> tuple[Release, ...]:
        with mlflow_errors(self.uri):
            models = self._client.search_registered_models(f"name = '{self._name}'")
        tags = models[0].tags if models else {}
        found = [Release.from_json(v) for k, v in tags.items() if k.startswith(_REVISION)]
        if models and not found and any("release.revision" in v.tags for v in self.versions()):
            raise DataError(
                f"the releases of {self._name} are lost, but versions were released",
                expected=f"tags {_REVISION}… of the registered model",
                repair="restore MLflow's database: without them the next candidate would pass as "
                "the first model ever",
            )
        return tuple(sorted(found, key=lambda release: release.revision))

    def publish(self, release: Release) -> None:
        # In this order a crash leaves the old release in force, or the new one with labels to mend.
        text = release.to_json()
        with mlflow_errors(self.uri):
            name = f"{_REVISION}{release.revision:04d}"
            written = self._client.get_registered_model(self._name).tags.get(name)
            if written not in (None, text):
                raise TransientError(
                    f"revision {release.revision} of {self._name} was released meanwhile",
                    expected="one promotion at a time",
                    repair="run it again: it will see that release",
                )
            wanted = self._holders(release)
            self._client.set_registered_model_tag(self._name, name, text)
            self._client.set_registered_model_tag(self._name, _MANIFEST, text)
            present = self._aliases()
            for alias, version in wanted.items():
                if version and present.get(alias) != str(version):
                    self._client.set_registered_model_alias(self._name, alias, str(version))
                elif not version and alias in present:
                    self._client.delete_registered_model_alias(self._name, alias)
        for alias, version in wanted.items():
            if version:
                traffic = f"{release.traffic_pct(version):g}"
                status = {"release.status": alias, "release.traffic_pct": traffic}
                self.tag(version, {**status, "release.revision": str(release.revision)})

    def _holders(self, release: Release) -> dict[str, int | None]:
        """The version of each alias; a previous one that somebody has deleted is left out.

        Raises:
            DataError: if a version that answers is deleted.
        """
        query = f"name = '{self._name}'"
        registered = {int(found.version) for found in self._client.search_model_versions(query)}
        for alias, version in ((CHAMPION, release.champion), (CANARY, release.canary)):
            if version and version not in registered:
                raise DataError(
                    f"version {version} of {self._name} is not registered any more, and release "
                    f"{release.revision} needs it as {alias}",
                    expected="a version that nobody has deleted",
                    repair="restore MLflow's database, or see what is left: "
                    f"flightline status {self._name}",
                )
        previous = release.previous if release.previous in registered else None
        return {CHAMPION: release.champion, CANARY: release.canary, PREVIOUS: previous}
