"""For which use cases the checks run: all, or those that CONFORMANCE_SLUG names (by commas)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conformance.slices import Slice

from ml.core.errors import ConfigError
from ml.core.spec import UseCase
from ml.use_cases import available, load_spec

if TYPE_CHECKING:
    from conformance.lived import Lived

_ASKED = os.environ.get("CONFORMANCE_SLUG", "")
SLUGS = tuple(_ASKED.replace(",", " ").split()) or available()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What one use case costs is paid once: its checks share a worker."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and "slug" in getattr(
            getattr(item, "callspec", None), "params", {}
        ):
            slug = item.callspec.params["slug"]  # type: ignore[attr-defined]  # it was looked for
            item.add_marker(pytest.mark.xdist_group(f"conformance-{slug}"))


@pytest.fixture(scope="session", params=SLUGS)
def slug(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="session")
def spec(slug: str) -> UseCase:
    """The spec; one that cannot be used is the finding of one check, not of all."""
    try:
        return load_spec(slug)
    except ConfigError:
        pytest.skip("its spec cannot be read")


@pytest.fixture(scope="session")
def found(spec: UseCase) -> Slice:
    return Slice(spec.slug)


@pytest.fixture(scope="session")
def definitions(found: Slice) -> Any:
    try:
        return found.definitions
    except Exception as error:  # noqa: BLE001  # one check reports it
        pytest.skip(f"its features cannot be read: {type(error).__name__}")


@pytest.fixture(scope="session")
def lived(found: Slice, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """A home in which the use case was ingested, transformed, materialized and trained once."""
    from conformance.lived import live

    folder: Path = tmp_path_factory.mktemp(f"lived-{found.slug}")
    return live(found.spec, folder)
