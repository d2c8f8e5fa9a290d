from __future__ import annotations

import pytest
from support import small_spec

from ml.core.errors import ConfigError
from ml.core.partitions import Cadence
from ml.core.spec import DemoPlan
from ml.core.story import Job, Step, story

DEMO = DemoPlan(first_as_of="2020-03-01", retrain_as_of="2020-03-20", single_runs=3)


def test_the_story_covers_every_partition_once_and_in_order() -> None:
    spec = small_spec(demo=DEMO)
    covered: list[str] = []
    for step in story(spec):
        if step.job is not Job.RETRAIN:
            covered += [p.key for p in spec.partitions(step.first, step.last or step.first)]
    expected = [p.key for p in spec.partitions("2020-01-01", "2020-03-20")]
    assert covered == expected


def test_a_model_is_trained_only_on_what_came_before() -> None:
    spec = small_spec(demo=DEMO)
    seen = ""
    for step in story(spec):
        if step.job is Job.RETRAIN:
            assert seen == spec.calendar.before(spec.calendar.parse(step.as_of)).key
        else:
            seen = step.last or step.first


def test_the_last_partitions_run_one_by_one_around_the_challenger() -> None:
    jobs = [step.job for step in story(small_spec(demo=DEMO))]
    assert jobs == [
        Job.HISTORY,
        Job.RETRAIN,
        Job.HISTORY,
        *[Job.PARTITION] * 3,
        Job.RETRAIN,
        Job.PARTITION,
    ]


def test_run_ids_are_stable_and_unique() -> None:
    steps = story(small_spec(demo=DEMO))
    ids = [step.run_id for step in steps]
    assert ids == [step.run_id for step in story(small_spec(demo=DEMO))]
    assert len(set(ids)) == len(ids)
    assert Step(Job.RETRAIN, "", as_of="2020-03-01").run_id == "demo__retrain__2020-03-01"


def test_a_job_says_its_stages() -> None:
    assert Job.RETRAIN.stages == ("train", "validate", "promote")
    assert (
        Job.HISTORY.stages
        == Job.PARTITION.stages
        == (
            "ingest",
            "transform",
            "materialize",
            "score",
        )
    )


def test_the_dag_of_single_partitions_is_named_after_their_cadence() -> None:
    """One file, one Dag: its name says how often it runs."""
    specs = [small_spec().model_copy(update={"cadence": cadence}) for cadence in Cadence]
    names = [Job.PARTITION.dag_id(spec) for spec in specs]
    assert names == ["toy_hourly", "toy_daily", "toy_weekly", "toy_monthly"]
    assert Job.RETRAIN.dag_id(small_spec()) == "toy_retrain"


def test_a_spec_without_a_demo_says_so() -> None:
    with pytest.raises(ConfigError, match="toy has no demo"):
        story(small_spec())


def test_a_demo_without_room_for_a_second_history_is_refused_or_leaves_it_out() -> None:
    """Three days between the trainings and three single runs: an error to read, or a story."""
    tight = DemoPlan(first_as_of="2020-03-01", retrain_as_of="2020-03-04", single_runs=3)
    try:
        steps = story(small_spec(demo=tight))
    except ConfigError:
        return
    assert [step.job for step in steps].count(Job.PARTITION) == 4
