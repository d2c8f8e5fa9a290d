"""Each check of this folder catches a slice that was broken on purpose, and no other check does."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rendered_slices import Edit, Variant, copy_repository, environment, render, write_digits

pytestmark = pytest.mark.xdist_group("broken")

SPEC, CONTRACT = "ml/use_cases/digits/spec.py", "ml/use_cases/digits/contract.py"
MARTS = "dbt_project/models/digits/marts"
STAGING = "dbt_project/models/digits/staging"
FEATURES = "feature_repo/digits/features.py"


def spec(slug: str, check: str, told: str, old: str, new: str) -> Variant:
    return Variant(slug, check, told, [Edit(SPEC, old, new)])


STATIC = [
    spec(
        "broken_threshold", "test_the_spec_can_be_read", "the wrong way round",
        'metric="skill", minimum', 'metric="skill", maximum',
    ),
    spec(
        "broken_metric", "test_the_spec_can_be_read", "nobody computes",
        'metric="macro_recall"', 'metric="happiness"',
    ),
    spec(
        "broken_folder", "test_the_spec_can_be_read", "the name of its folder",
        'slug="digits"', 'slug="another_case"',
    ),
    Variant(
        "broken_json", "test_the_spec_is_the_same_after_json", "segments is another",
        [Edit(SPEC, "single_runs=2),\n)\n",
              'single_runs=2),\n).model_copy(update={"segments": ["desk"]})\n')],
    ),
    spec(
        "broken_owner", "test_people_know_whom_to_ask", "name the team",
        'owner="forms-team"', 'owner="airflow"',
    ),
    spec(
        "broken_gates", "test_gates_can_fail", "must have seen the outcome",
        '            Criterion(metric="accuracy", name="leak", too_good=0.999),\n', "",
    ),
    spec(
        "broken_search", "test_the_search_is_long_enough_to_find_something", "has 3 trials",
        "search=SearchPlan(\n", "search=SearchPlan(\n            trials=3,\n",
    ),
    spec(
        "broken_parameters", "test_parameters_are_lightgbms_own", "happiness",
        '"bagging_freq": 1', '"happiness": 1',
    ),
    Variant(
        "broken_windows", "test_there_is_data_for_the_windows", "or shorten the windows",
        [
            Edit(SPEC, 'last="2020-01-09T02Z"', 'last="2020-01-07T02Z"'),
            Edit(SPEC, "    demo=DemoPlan(", "    demo=None and DemoPlan("),
        ],
    ),
    Variant(
        "broken_demo", "test_the_demo_fits_into_the_coverage", "cannot be played",
        [Edit(SPEC, 'first_as_of="2020-01-08T16Z"', 'first_as_of="2020-01-06T09Z"')],
    ),
    Variant(
        "broken_runbook", "test_the_runbook_tells_what_to_do", "write it",
        [Edit("docs/runbooks/digits.md")],
    ),
    spec(
        "broken_source", "test_the_source_gives_each_table", "let coverage.first be the first",
        'first="2020-01-06T00Z"', 'first="2020-01-05T00Z"',
    ),
    spec(
        "broken_end", "test_the_source_gives_the_last_partition_too", "let coverage.last be",
        'last="2020-01-09T02Z"', 'last="2020-01-10T02Z"',
    ),
    Variant(
        "broken_contract", "test_contracts_are_for_tables_of_the_spec", "no primary_key",
        [Edit(CONTRACT, "primary_key=True", "nullable=False")],
    ),
    Variant(
        "broken_data", "test_real_data_keeps_the_contract", "only 0 of 12 rows",
        [Edit(CONTRACT, "max=128", "max=3")],
    ),
    Variant(
        "broken_ranges", "test_the_contract_rejects_planted_rows", "any number in any column",
        [Edit(CONTRACT, ", min=0, max=128", ""), Edit(CONTRACT, ", min=0, max=4", "")],
    ),
    Variant(
        "broken_names", "test_names_of_models_say_what_they_are", "dbt model scans",
        [
            Edit(f"{MARTS}/scans.sql", "", "select 1 as one"),
            Edit(
                f"{MARTS}/scans.yml", "",
                "models:\n  - {name: scans, description: A table of one row.}\n",
            ),
        ],
    ),
    Variant(
        "broken_words", "test_every_model_is_described", "digit has no description",
        [
            Edit(
                f"{MARTS}/marts.yml",
                "        description: 0 to 4, the index of the class; null if nobody has read it "
                "yet.\n", "",
            )
        ],
    ),
    Variant(
        "broken_mart", "test_the_mart_has_what_the_platform_reads", "fct_scans has no column desk",
        [
            Edit(
                f"{MARTS}/marts.yml",
                "      - {name: desk, data_type: varchar, constraints: [{type: not_null}]}\n"
                "      - name: decided_at", "      - name: decided_at",
            )
        ],
    ),
    Variant(
        "broken_key", "test_every_table_has_a_tested_key", "desk, event_at is unique",
        [
            Edit(
                f"{MARTS}/marts.yml",
                "{columns: [desk, event_at]}", "{columns: [desk, event_at, created_at]}",
            )
        ],
    ),
    spec(
        "broken_freshness", "test_every_table_has_a_freshness_rule", "stands still",
        '            freshness=Freshness(column="scanned_at", '
        "tolerance=timedelta(minutes=30)),\n", "",
    ),
    Variant(
        "broken_definitions", "test_the_definitions_can_be_read", "desks",
        [Edit(FEATURES, "entities=[desk]", "entities=[desks]")],
    ),
    Variant(
        "broken_service", "test_the_feature_service_has_the_views_of_the_spec", "and not in",
        [Edit(FEATURES, "features=[scan_rows, desk_scans]", "features=[scan_rows]")],
    ),
    Variant(
        "broken_ttl", "test_feature_views_are_fit_for_serving", "served for ever",
        [Edit(FEATURES, "timedelta(hours=2)", "timedelta(0)")],
    ),
    Variant(
        "broken_outcome", "test_the_mart_knows_nothing_of_the_outcome", "leave it out",
        [
            Edit(
                f"{MARTS}/marts.yml",
                "      - name: decided_at",
                "      - {name: digit, data_type: bigint}\n      - name: decided_at",
            )
        ],
    ),
    Variant(
        "broken_disguise", "test_no_feature_is_called_like_an_outcome", "desk_scans: digit",
        [Edit(FEATURES, '{"scan_count_6h": Int64', '{"digit": Int64, "scan_count_6h": Int64')],
    ),
    Variant(
        "broken_dag", "test_its_dags_are_there_and_its_own", "expected broken_dag_history",
        [Edit("dags/digits_history.py", 'build_history("digits")', 'build_history("di" "gits")')],
    ),
]  # fmt: skip  # a fault to a few lines

PARSED = [
    Variant(
        "broken_sql", "test_dbt_parses_this_use_case_alone", "mend dbt_project/models/broken_sql",
        [Edit(f"{MARTS}/fct_scans.sql", "scanned_at as decided_at", "{% if %} as decided_at")],
    ),
    Variant(
        "broken_lookback", "test_the_parsed_labels_reach_as_far_back_as_the_spec",
        "lookback_partitions 2 by the hour needs 1",
        [Edit(f"{MARTS}/fct_labels.sql", '"slice_lookback_days": 1', '"slice_lookback_days": 0')],
    ),
]  # fmt: skip

LIVED = [
    Variant(
        "broken_future", "test_no_feature_changes_when_the_future_is_removed", "close its window",
        [
            Edit(
                f"{MARTS}/feat_desk_scans.sql", "<= hours.event_at",
                "<= hours.event_at + interval 1 hour",
            )
        ],
    ),
    Variant(
        "broken_early", "test_labels_become_known_after_the_decision", "are known when",
        [Edit(f"{MARTS}/fct_labels.sql", "greatest(read_at, corrected_at)", "scanned_at")],
    ),
    Variant(
        "broken_giveaway", "test_no_feature_gives_the_label_away", "scan_rows__row_0_ink alone",
        [
            # Nobody said that the digit is known later than the scan.
            Edit(CONTRACT, '        cells_known_at=dict.fromkeys(("digit", "read_at"), '
                 'pl.col("read_at")),\n', ""),
            Edit(CONTRACT, "import polars as pl\n", ""),
            Edit(f"{STAGING}/stg_scanner__scans.sql", "row_{{ number }} as row_{{ number }}_ink",
                 "{{ '(20 - 3 * digit)' if number == 0 else 'row_' ~ number }} "
                 "as row_{{ number }}_ink"),
        ],
    ),
    Variant(
        "broken_seed", "test_the_same_seed_gives_the_same_model", "the model is another",
        [
            Edit(SPEC, "from datetime import timedelta\n",
                 "from datetime import timedelta\nfrom random import randrange\n"),
            Edit(SPEC, "        max_rounds=60,\n",
                 '        max_rounds=60,\n        seed=randrange(10**6),\n'),
            Edit(SPEC, '{"bagging_freq": 1}', '{"bagging_freq": 1, "bagging_fraction": 0.6}'),
        ],
    ),
    Variant(
        "broken_online", "test_online_is_offline", "created_at must not be later",
        [
            Edit(
                f"{MARTS}/feat_desk_scans.sql", "greatest(hours.event_at,",
                "greatest(hours.event_at + interval 90 minute,",
            )
        ],
    ),
    Variant(
        "broken_rule", "test_a_model_of_shuffled_labels_is_rejected", "a weak rule is easy to beat",
        [
            # The mean of three pictures that have nothing in common.
            Edit(SPEC, 'Rule(by=("desk",))', 'Rule(by=("box",), smoothing=0.0)'),
            Edit(SPEC, "        maximum_cost_increase=0.1,\n", ""),
            Edit(SPEC, '            Criterion(metric="macro_recall", minimum=0.6),\n'
                 '            Criterion(metric="recall_zero", minimum=0.6),\n', ""),
            Edit(SPEC, 'name="calibration", maximum=0.2', 'name="calibration", maximum=0.6'),
            Edit(SPEC, 'metric="skill", minimum=0.3', 'metric="skill", minimum=0.0'),
            Edit(f"{MARTS}/fct_scans.sql", "    desk,\n",
                 "    desk,\n    right(scan_id, 2) as box,\n"),
            Edit(f"{MARTS}/marts.yml", "      - name: decided_at",
                 "      - {name: box, data_type: varchar}\n      - name: decided_at"),
        ],
    ),
]  # fmt: skip

Messages = dict[str, dict[str, str]]


def messages(tree: Path, slugs: Iterable[str], *options: str) -> Messages:
    """Runs the suite in a copy of the repository: by slug and check what failed, else nothing."""
    report = tree / "report.xml"
    where = environment(tree, tree / "home", tree / "data" / "scans.csv")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "tests/conformance", "-q", "-p", "no:cacheprovider"),
            *("--ignore=tests/conformance/test_broken.py", f"--junitxml={report}", *options),
        ],
        cwd=tree,
        env={**where, "CONFORMANCE_SLUG": ",".join(slugs)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout[-3000:] + done.stderr[-3000:]
    found: Messages = defaultdict(dict)
    for case in ET.parse(report).iter("testcase"):
        check, _, slug = case.attrib["name"].partition("[")
        failed = [*case.iter("failure"), *case.iter("error")]
        text = "".join(one.attrib["message"] + (one.text or "") for one in failed)
        found[slug.rstrip("]")][check] = text
    return found


def broken_tree(folder: Path, variants: Iterable[Variant]) -> Path:
    """The repository with the good slice and its broken variants."""
    tree = copy_repository(folder / "tree")
    write_digits(tree / "data")
    render(tree)
    for variant in variants:
        render(tree, variant.slug, variant.edits)
    return tree


def wrong(found: Messages, variants: Iterable[Variant]) -> list[str]:
    """Where something else failed than the one check that should, or its message says less."""
    text = [f"digits, which is good: {name} fails: {why}" for name, why in _failed(found, "digits")]
    for variant in variants:
        failed = dict(_failed(found, variant.slug))
        message = failed.pop(variant.check, "")
        if variant.told not in message:
            text.append(f"{variant.slug}: {variant.check} says {message[:600]!r}")
        text += [f"{variant.slug}: {name} fails: {why[:600]}" for name, why in failed.items()]
    return text


def _failed(found: Messages, slug: str) -> list[tuple[str, str]]:
    return [(name, why) for name, why in found[slug].items() if why]


def never_tripped(found: Messages, variants: Iterable[Variant]) -> set[str]:
    """Checks that ran, and that no variant is made to fail."""
    ran = {check for checks in found.values() for check in checks}
    return ran - {variant.check for variant in variants}


def test_each_static_check_catches_its_broken_slice(tmp_path: Path) -> None:
    tree = broken_tree(tmp_path, STATIC)
    slugs = ["digits", *(variant.slug for variant in STATIC)]
    found = messages(tree, slugs, "-k", "not parse", "-m", "not slow")
    assert wrong(found, STATIC) == []
    assert never_tripped(found, STATIC) == set()


def test_what_only_dbt_can_read_is_caught(tmp_path: Path) -> None:
    tree = broken_tree(tmp_path, PARSED)
    slugs = ["digits", *(variant.slug for variant in PARSED)]
    found = messages(tree, slugs, "-k", "parse", "-m", "not slow")
    assert wrong(found, PARSED) == []
    # It breaks the slice itself: a check of the check before it.
    assert never_tripped(found, PARSED) == {"test_a_broken_file_of_its_own_stops_the_parse"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_check_of_a_life_catches_its_broken_slice(tmp_path: Path) -> None:
    tree = broken_tree(tmp_path, LIVED)
    slugs = ["digits", *(variant.slug for variant in LIVED)]
    found = messages(tree, slugs, "-m", "slow")
    assert wrong(found, LIVED) == []
    # What no slice can break has its own test beside it.
    assert never_tripped(found, LIVED) == {
        "test_the_model_survives_save_and_load",
        "test_a_model_that_changes_on_the_way_is_caught",
    }
