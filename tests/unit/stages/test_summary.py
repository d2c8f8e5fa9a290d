from __future__ import annotations

from ml.core.ports import ModelVersion
from ml.stages.summary import worth_showing


def test_the_newest_versions_and_those_with_an_alias_are_shown() -> None:
    aliases = {2: ("champion",), 5: ("canary",)}
    versions = [ModelVersion(n, "run", {}, aliases.get(n, ())) for n in range(1, 11)]
    assert [found.version for found in worth_showing(versions)] == [2, 5, 7, 8, 9, 10]
    assert worth_showing(versions[:1]) == tuple(versions[:1])
    assert worth_showing([]) == ()
