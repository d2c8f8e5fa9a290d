"""The registry by itself: what it does when somebody has deleted a version by hand."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from releases import state
from support import platform_at
from trained_runs import bare

from ml.adapters.registry import MlflowRegistry
from ml.core.errors import DataError
from ml.core.ports import Platform
from ml.core.release import Release, crown, end_canary, first_champion, start_canary

NOW = datetime.fromisoformat("2013-06-01T04:00:00+00:00")


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """Three versions of which nothing is released yet."""
    platform = platform_at(tmp_path / "home")
    for _ in range(3):
        platform.registry.register(platform.tracking.log_training(bare()), {})
    return platform


def crowned(platform: Platform) -> Release:
    """Version 2 has taken the place of version 1."""
    first = first_champion(platform.spec.slug, 1, NOW)
    second = start_canary(first, 2, NOW, weight_bp=1000)
    third = crown(second, NOW)
    for release in (first, second, third):
        platform.registry.publish(release)
    return third


def delete(platform: Platform, version: int) -> None:
    registry = platform.registry
    assert isinstance(registry, MlflowRegistry)
    registry._client.delete_model_version(registry._name, str(version))


def test_a_previous_version_that_was_deleted_stops_no_release(platform: Platform) -> None:
    current = crowned(platform)
    delete(platform, 1)
    canary = start_canary(current, 3, NOW, weight_bp=1000)
    withdrawn = end_canary(canary, NOW)
    for release in (current, canary, withdrawn):
        platform.registry.publish(release)
        assert platform.registry.releases()[-1] == release
    held = {found.version: found.aliases for found in platform.registry.versions()}
    assert held == {2: ("champion",), 3: ()}


def test_a_champion_that_was_deleted_may_be_replaced(platform: Platform) -> None:
    """It becomes the previous one, whose alias must not stay with the one before."""
    canary = start_canary(crowned(platform), 3, NOW, weight_bp=1000)
    platform.registry.publish(canary)
    delete(platform, 2)
    platform.registry.publish(crown(canary, NOW))
    held = {found.version: found.aliases for found in platform.registry.versions()}
    assert held == {1: (), 3: ("champion",)}


@pytest.mark.parametrize(("version", "role"), [(2, "champion"), (3, "canary")])
def test_a_release_needs_its_models_before_anything_is_written(
    platform: Platform, version: int, role: str
) -> None:
    release = start_canary(crowned(platform), 3, NOW, weight_bp=1000)
    delete(platform, version)
    before = state(platform)
    with pytest.raises(DataError, match=f"version {version} .*is not registered.*{role}"):
        platform.registry.publish(release)
    assert state(platform) == before
