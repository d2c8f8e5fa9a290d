"""A broken use case is an error in words, with its place; the others do not notice."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import small_spec

from ml import use_cases
from ml.core.errors import ConfigError
from ml.core.spec import DemoPlan

GOOD = """
from ml.core.spec import UseCase

SPEC = UseCase.model_validate_json('''{json}''')
"""
WRITTEN = """
from datetime import timedelta

from ml.core.partitions import Cadence
from ml.core.plans import GatePlan, ModelPlan, ReleasePlan
from ml.core.problems import ProblemType
from ml.core.spec import Coverage, Features, Label, Table, UseCase

RELEASE = ReleasePlan(canary_weight_bp=1000)
SPEC = UseCase(
    slug="toy",
    titel="Toy",
    impact_tier=9,
    coverage=Coverage(first="2020-01-01", last="2020-12-31"),
    release=RELEASE,
)
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes `ml/use_cases/NAME` of a repository in which there is nothing else."""
    folder = tmp_path / "ml" / "use_cases"
    folder.mkdir(parents=True)
    monkeypatch.setattr(use_cases, "_HERE", folder)
    monkeypatch.setattr(use_cases, "__path__", [str(folder)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("ml.use_cases."):
            del sys.modules[name]


def good(slug: str, **changes: object) -> str:
    return GOOD.format(json=small_spec(slug=slug, **changes).model_dump_json())


BROKEN = {
    "syntax": ("x = 1\nSPEC = UseCase(\n", r"toy/spec\.py, line 2: '\(' was never closed"),
    "import": (
        "import json\nimport no_such_library\n",
        r"toy/spec\.py, line 2: ModuleNotFoundError: No module named 'no_such_library'",
    ),
    "name": ("SPEC = UseCase()\n", r"toy/spec\.py, line 1: NameError: name 'UseCase'"),
    "no spec": ("x = 1\n", r"toy/spec\.py: no SPEC\n  expected: SPEC = UseCase"),
    "not a spec": ("SPEC = {}\n", r"toy/spec\.py: SPEC is a dict"),
    "exit": ("import sys\nsys.exit('bye')\n", r"toy/spec\.py, line 2: SystemExit: bye"),
    "own error": (
        "from ml.core.names import check_slug\ncheck_slug('A B')\n",
        r"toy/spec\.py, line 2: bad use case name 'A B'\n  expected: lower snake case",
    ),
    "zone": (
        "from ml.core.partitions import *\nPartitions(Cadence.DAY, 'Mars/Base').parse('2020')",
        r"toy/spec\.py, line 2: unknown time zone 'Mars/Base'",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_spec_is_told_with_its_place(write: Callable[..., None], kind: str) -> None:
    text, told = BROKEN[kind]
    write("toy/spec.py", text)
    with pytest.raises(ConfigError, match=f"ml/use_cases/{told}"):
        use_cases.load_spec("toy")


def test_a_spec_that_is_not_valid_is_told_field_by_field(write: Callable[..., None]) -> None:
    """Not as pydantic prints it: no type names, no addresses of its pages."""
    write("toy/spec.py", WRITTEN)
    with pytest.raises(ConfigError) as caught:
        use_cases.load_spec("toy")
    first, *fields = caught.value.seen.splitlines()
    assert first == "ml/use_cases/toy/spec.py, line 10: UseCase is not valid"
    assert "  impact_tier: Input should be less than or equal to 4, got 9" in fields
    assert "  titel: Extra inputs are not permitted, got 'Toy'" in fields
    assert "  title: Field required" in fields
    assert "pydantic" not in str(caught.value) and "[type" not in str(caught.value)


def test_a_rule_over_several_fields_is_told_in_its_own_words(write: Callable[..., None]) -> None:
    text = good("toy").replace('"holdout_partitions":7', '"holdout_partitions":8')
    write("toy/spec.py", text.replace('"owner":"team"', '"owner":"team","segments":["x"]'))
    assert use_cases.load_spec("toy").holdout_partitions == 8
    write("other/spec.py", good("other").replace('"classes":[]', '"classes":["a","b","c"]'))
    with pytest.raises(ConfigError, match=r"\n  label\.classes of a binary problem"):
        use_cases.load_spec("other")


def test_a_spec_of_another_slug_is_refused(write: Callable[..., None]) -> None:
    """A copied folder whose slug was forgotten: it would write into the other one's tables."""
    write("copy/spec.py", good("toy"))
    with pytest.raises(ConfigError, match=r"copy/spec\.py: the slug is 'toy'"):
        use_cases.load_spec("copy")


def test_a_missing_file_is_named(write: Callable[..., None]) -> None:
    write("toy/spec.py", good("toy"))
    write("half/contract.py", "x = 1")
    with pytest.raises(ConfigError, match=r"toy has no contract\.py"):
        use_cases.load_module("toy", "contract")
    with pytest.raises(ConfigError, match=r"half has no spec\.py"):
        use_cases.load_spec("half")
    with pytest.raises(ConfigError, match=r"(?s)unknown use case 'nothing'.*one of: toy\n"):
        use_cases.load_spec("nothing")


def test_a_broken_contract_is_told_with_its_place(write: Callable[..., None]) -> None:
    write("toy/spec.py", good("toy"))
    write("toy/contract.py", "x = 1\ny = x + undefined\n")
    with pytest.raises(ConfigError, match=r"toy/contract\.py, line 2: NameError"):
        use_cases.load_module("toy", "contract")


@pytest.mark.parametrize("kind", BROKEN)
def test_the_others_go_on_beside_a_broken_one(write: Callable[..., None], kind: str) -> None:
    demo = DemoPlan(first_as_of="2020-03-01", retrain_as_of="2020-03-20", single_runs=3)
    write("toy/spec.py", BROKEN[kind][0])
    write("zebra/spec.py", good("zebra", demo=demo.model_dump()))
    specs, broken = use_cases.load_all()
    assert (set(specs), set(broken)) == ({"zebra"}, {"toy"})
    assert use_cases.available() == ("toy", "zebra")
    assert use_cases.demo_slug() == "zebra", "the broken one comes first"


def test_no_use_case_at_all_is_a_clear_error(write: Callable[..., None]) -> None:
    assert use_cases.available() == () and use_cases.load_all() == ({}, {})
    with pytest.raises(ConfigError, match="none is there yet"):
        use_cases.load_spec("toy")
    with pytest.raises(ConfigError, match="no use case has a demo"):
        use_cases.demo_slug()


def test_when_only_a_broken_one_could_have_the_demo_that_is_the_error(
    write: Callable[..., None],
) -> None:
    write("toy/spec.py", "import no_such_library")
    with pytest.raises(ConfigError, match="no_such_library"):
        use_cases.demo_slug()
