"""Builders of the Dags that every use case has; a Dag file is one call.

A task is a stage: a task costs a third of a second and a hop between Dags a whole one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from airflow.sdk import (
    DAG,
    Asset,
    AssetOrTimeSchedule,
    BaseOperator,
    CronPartitionTimetable,
    CronTriggerTimetable,
    Param,
    dag,
    task,
)
from airflow.sdk.exceptions import AirflowFailException

from ml.core.prediction_source import Source
from ml.core.spec import UseCase
from ml.core.story import Job
from ml.use_cases import load_spec
from orchestration import links, pages, stages
from orchestration.alarms import Alarms
from orchestration.defaults import tags, task_defaults

# Airflow's default makes up a run for the period before a Dag was first seen, if that was within a
# tenth of the interval: after midnight, a day in the real past of a source that ended in 2013.
_NO_RUN_FOR_THE_PAST = timedelta(0)


def _common(spec: UseCase, job: Job, doc: str) -> dict[str, Any]:
    return {
        "dag_id": job.dag_id(spec),
        "doc_md": doc,
        "default_args": task_defaults(spec),
        "owner_links": {spec.owner: spec.contact},
        "tags": tags(spec, *job.stages),
        "catchup": False,
        "max_active_runs": 1,
        "dagrun_timeout": spec.time_outs.run,
        "on_failure_callback": Alarms(spec).run_failed,
        "is_paused_upon_creation": True,
    }


def build_partition(slug: str, doc: str = "") -> DAG:
    """One partition from the source to predictions; the run's partition key says which.

    Args:
        doc: the Dag's page, if not the one that is made from the spec.
    """
    spec = load_spec(slug)
    timetable = CronPartitionTimetable(
        spec.partition_cron,
        timezone=spec.calendar.key_zone,
        run_offset=-1,  # the partition that has just closed
        key_format=spec.cadence.key_format,
        run_immediately=_NO_RUN_FOR_THE_PAST,
    )

    @dag(
        schedule=timetable,
        params={"revision": _revision_param(empty="when the task starts")},
        **_common(spec, Job.PARTITION, doc or pages.partition(spec)),
    )
    def partition_dag() -> None:
        def run(
            stage: str, noun: str, partition_key: str | None, outlet_events: Any, **values: Any
        ) -> Any:
            if not partition_key:
                raise AirflowFailException(
                    "the run has no partition key\n"
                    f"  repair: trigger {Job.PARTITION.dag_id(spec)} with a key like "
                    f"{spec.coverage.first}"
                )
            source = Source.SCORE.value
            ran = stages.run(stage, slug, first=partition_key, source=source, **values)
            outlet_events[_asset(spec, noun)].extra = _told(ran)
            return ran

        @task(outlets=[_asset(spec, "raw")])
        def ingest_partition(
            partition_key: Any = None, params: Any = None, ti: Any = None, outlet_events: Any = None
        ) -> Any:
            revision = _revision(params, ti)
            return run("ingest", "raw", partition_key, outlet_events, revision=revision)

        @task(outlets=[_asset(spec, "features")])
        def transform_partition(partition_key: Any = None, outlet_events: Any = None) -> Any:
            return run("transform", "features", partition_key, outlet_events)

        @task(outlets=[_asset(spec, "online_features")])
        def materialize_features(partition_key: Any = None, outlet_events: Any = None) -> Any:
            return run("materialize", "online_features", partition_key, outlet_events)

        @task(outlets=[_asset(spec, "predictions")])
        def score_partition(partition_key: Any = None, outlet_events: Any = None) -> Any:
            return run("score", "predictions", partition_key, outlet_events)

        ingest_partition() >> transform_partition() >> materialize_features() >> score_partition()

    return _documented(partition_dag(), spec)


def build_history(slug: str, doc: str = "") -> DAG:
    """A range of partitions in one go: single ones would pay each tool's start for each."""
    spec = load_spec(slug)

    @dag(
        schedule=None,
        params={
            "first": Param(spec.coverage.first, type="string", title="First partition key"),
            "last": Param(spec.coverage.last, type="string", title="Last partition key, included"),
            "revision": _revision_param(empty="refuse rows that changed"),
        },
        **_common(spec, Job.HISTORY, doc or pages.history(spec)),
    )
    def history_dag() -> None:
        def run(stage: str, noun: str, params: Any, outlet_events: Any, **values: Any) -> Any:
            first, last, source = params["first"], params["last"], Source.REPLAY.value
            ran = stages.run(stage, slug, first=first, last=last, source=source, **values)
            outlet_events[_asset(spec, noun)].extra = _told(ran)
            keys = [partition.key for partition in spec.partitions(first, last)]
            outlet_events[_asset(spec, noun)].add_partitions(keys)
            return ran

        @task(outlets=[_asset(spec, "raw")])
        def ingest_range(params: Any = None, outlet_events: Any = None) -> Any:
            # A range is often years old: when it changed cannot be guessed.
            return run("ingest", "raw", params, outlet_events, revision=params["revision"] or "")

        @task(outlets=[_asset(spec, "features")])
        def transform_range(params: Any = None, outlet_events: Any = None) -> Any:
            return run("transform", "features", params, outlet_events)

        @task(outlets=[_asset(spec, "online_features")])
        def materialize_features(params: Any = None, outlet_events: Any = None) -> Any:
            return run("materialize", "online_features", params, outlet_events)

        @task(outlets=[_asset(spec, "predictions")])
        def score_range(params: Any = None, outlet_events: Any = None) -> Any:
            return run("score", "predictions", params, outlet_events)

        ingest_range() >> transform_range() >> materialize_features() >> score_range()

    return _documented(history_dag(), spec)


def build_retrain(slug: str, doc: str = "") -> DAG:
    """Train, validate, promote: by calendar, by request of the unkeyed asset, or by hand."""
    spec = load_spec(slug)
    calendar = CronTriggerTimetable(
        spec.schedules.retrain, timezone=spec.zone, run_immediately=_NO_RUN_FOR_THE_PAST
    )
    request = Asset(spec.names.retrain_request)

    @dag(
        schedule=AssetOrTimeSchedule(timetable=calendar, assets=request),
        params={
            "as_of": Param(
                None,
                type=["null", "string"],
                title="Train as of the start of this partition; empty: data time",
            )
        },
        **_common(spec, Job.RETRAIN, doc or pages.retrain(spec)),
    )
    def retrain_dag() -> None:
        @task
        def train_candidate(
            params: Any = None,
            triggering_asset_events: Any = None,
            dag_run: Any = None,
            ti: Any = None,
        ) -> Any:
            as_of = params["as_of"] or str(_requested(triggering_asset_events).get("as_of", ""))
            requested_by = f"airflow://{dag_run.dag_id}/{dag_run.run_id}"
            ran = stages.run("train", slug, as_of=as_of, requested_by=requested_by)
            links.push(ti, ran["links"])
            return ran

        @task
        def validate_candidate(trained: Any, ti: Any = None) -> Any:
            links.push(ti, trained["links"])
            return stages.run("validate", slug, version=trained["result"]["version"])

        @task(outlets=[_asset(spec, "release")])
        def promote_candidate(validated: Any, outlet_events: Any = None, ti: Any = None) -> Any:
            links.push(ti, validated["links"])
            ran = stages.run("promote", slug, version=validated["result"]["version"])
            outlet_events[_asset(spec, "release")].extra = ran["result"]
            return ran

        promote_candidate(validate_candidate(train_candidate()))

    made = retrain_dag()
    for made_task in made.tasks:
        made_task.operator_extra_links = links.LINKS
    return _documented(made, spec)


def _documented(made: DAG, spec: UseCase) -> DAG:
    """Each task's page; its id begins with the stage."""
    for made_task in cast("list[BaseOperator]", made.tasks):  # none of them is mapped
        made_task.doc_md = pages.task(spec, made_task.task_id.partition("_")[0])
    return made


def _revision_param(*, empty: str) -> Param:
    return Param(
        None,
        type=["null", "string"],
        title=f"When this delivery became known, ISO 8601 with an offset; empty: {empty}",
        description="Matters only for rows that differ from those that are there already.",
    )


def _revision(params: Any, ti: Any) -> str:
    """What a delivery is dated if it changes what is there: this try, or what the run was given."""
    given = (params or {}).get("revision")
    return str(given or ti.start_date.isoformat())


def _told(ran: dict[str, Any]) -> dict[str, Any]:
    """What an asset event says of the stage that updated the asset."""
    result = ran["result"]
    told = {name: result[name] for name in ("rows", "changed", "warnings") if result.get(name)}
    return {"seconds": round(ran["seconds"], 3), **told}


def _asset(spec: UseCase, noun: str) -> Asset:
    return Asset(spec.names.asset(noun))


def _requested(triggering_asset_events: Any) -> dict[str, Any]:
    """What the newest request says; empty for a run by calendar or by hand."""
    events = [event for found in (triggering_asset_events or {}).values() for event in found]
    newest = max(events, key=lambda event: event.timestamp, default=None)
    return dict(newest.extra or {}) if newest else {}
