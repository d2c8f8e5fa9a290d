"""The feature definitions of a use case, loaded from its folder in `feature_repo` and checked."""

from __future__ import annotations

import ast
import copy
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from ml.core.errors import ConfigError

if TYPE_CHECKING:
    from feast import Entity, FeatureService, FeatureView

_T = TypeVar("_T")


@dataclass(frozen=True)
class Definitions:
    """Everything that one module defines.

    Attributes:
        file: where, as a path in the repository.
    """

    file: str
    entities: tuple[Entity, ...]
    views: tuple[FeatureView, ...]
    services: tuple[FeatureService, ...]

    @classmethod
    def load(cls, slug: str) -> Definitions:
        """Import the module.

        Raises:
            ConfigError: naming what could not be defined, and the file.
        """
        from feast import Entity, FeatureService, FeatureView

        file = f"feature_repo/{slug}/features.py"
        try:
            module = import_module(f"feature_repo.{slug}.features")
        except Exception as error:  # a definition raises whatever its author wrote
            raise ConfigError(
                f"{file}{_place(error, f'{slug}/features.py')}: {type(error).__name__}: {error}",
                expected="definitions of entities, feature views and services that can be imported",
                repair="define what is missing, or stop naming it",
            ) from error
        return cls(
            file,
            _defined(module, Entity),
            _defined(module, FeatureView),
            _defined(module, FeatureService),
        )

    def service(self, name: str) -> FeatureService:
        for found in self.services:
            if found.name == name:
                return found
        raise ConfigError(f"no feature service {name!r}", expected=f"one in {self.file}")

    def view(self, name: str) -> FeatureView:
        return next(view for view in self.views if view.name == name)

    def key_types(self, view: FeatureView) -> dict[str, str]:
        """The view's join keys and their Feast types, such as `STRING`."""
        used = [entity for entity in self.entities if entity.name in view.entities]
        return {entity.join_key: entity.value_type.name for entity in used}

    def check_services(self, registered: Iterable[FeatureService] = ()) -> None:
        """Every service, those of earlier definitions included, names features that exist.

        Raises:
            ConfigError: naming the service, the feature and the file.
        """
        known = {(view.name, field.name) for view in self.views for field in view.features}
        for service in [*self.services, *registered]:
            for projection in service.feature_view_projections:
                for field in projection.features:
                    if (projection.name, field.name) not in known:
                        raise self._missing(service.name, f"{projection.name}:{field.name}")

    def _missing(self, service: str, feature: str) -> ConfigError:
        return ConfigError(
            f"feature service {service} names {feature}, which {self.file} does not define",
            expected="a service keeps all of its features: models that were trained on it ask for "
            "them; it only ever gets a successor",
            repair=f"define {feature} again, and leave it out of a new service",
        )

    def copies(self) -> list[Any]:
        """For `apply`, which writes into what it gets.

        It would carry the watermarks of one registry into the next one that this process opens.
        """
        return [copy.copy(each) for each in (*self.entities, *self.views, *self.services)]


def _defined(module: ModuleType, kind: type[_T]) -> tuple[_T, ...]:
    found = {id(value): value for value in vars(module).values() if isinstance(value, kind)}
    return tuple(found.values())


def _place(error: Exception, file: str) -> str:
    """The line of the file that failed, and the name of what was being defined there."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [(frame.filename, frame.lineno or 0) for frame in frames]
    mine = [(path, line) for path, line in lines if path.endswith(file)]
    if not mine:
        return ""
    path, line = mine[0]  # the outermost: the definition itself, not a function that it calls
    names = [
        str(keyword.value.value)
        for node in ast.walk(ast.parse(Path(path).read_text()))
        if isinstance(node, ast.Call) and node.lineno <= line <= (node.end_lineno or 0)
        for keyword in node.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    ]
    return f", line {line}" + (f", in {names[0]}" if names else "")
