"""The page that Airflow shows of each Dag, written from the use case's spec."""

from __future__ import annotations

import os
from datetime import timedelta

from cron_descriptor import Options, get_description  # Airflow brings it

from ml.core.spec import UseCase
from ml.core.story import Job

_TIERS = {
    1: "harm while it is down: wake somebody up",
    2: "people wait for it: look at it today",
    3: "predictions are late or the model grows old: look at it on the next working day",
    4: "nobody waits for it",
}
# Of each stage: what it reads, what it makes, and how to run it by hand.
_TASKS = {
    "ingest": (
        "the source",
        "raw partitions; bad rows go to the quarantine with the rules that they broke",
        "ingest {slug} KEY",
    ),
    "transform": (
        "raw partitions",
        "dbt's marts and feature tables, tested, and their exports",
        "transform {slug} KEY",
    ),
    "materialize": ("exported features", "the online store", "materialize {slug} KEY"),
    "score": (
        "features at each decision time, the release that was in force",
        "the prediction log of the partition",
        "score {slug} KEY",
    ),
    "train": (
        "features and labels as they were known at `as_of`",
        "an MLflow run and a registered version; a finished run is found again",
        "train {slug} --as-of KEY",
    ),
    "validate": (
        "the version, the champion, the holdout",
        "a verdict of each gate, with evidence, on run and version",
        "validate {slug} VERSION",
    ),
    "promote": (
        "the verdicts",
        "the next release: champion or canary; a candidate that was rejected is skipped",
        "promote {slug} VERSION",
    ),
}
_REPAIR = "the task's log ends with what was seen, what was expected and the repair"


def partition(spec: UseCase) -> str:
    """Of the Dag that runs for each partition."""
    unit, zone = spec.cadence.value, spec.calendar.key_zone
    return _page(
        spec,
        f"one {unit} from the source to predictions",
        makes="raw partition → dbt marts and features → online features → prediction log.",
        rerun="of a key gives the same data; clear the run, or trigger it again with its "
        "partition key.",
        schedule=f"{in_words(spec.partition_cron)} ({zone}), for the {unit} that ended before. "
        f"It ships paused, as the source holds {spec.coverage.first} to {spec.coverage.last}; "
        "another key is skipped with the reason.",
    )


def history(spec: UseCase) -> str:
    """Of the Dag that takes a range of partitions in one go."""
    return _page(
        spec,
        f"a range of {spec.cadence.value}s in one go",
        makes=f"the same as `{Job.PARTITION.dag_id(spec)}`, for all partitions from `first` to "
        "`last`, both included.",
        rerun="replaces the same partitions with the same data.",
        schedule="by hand, with the two parameters.",
        tier=4,  # whoever started it sees how it ends
    )


def retrain(spec: UseCase) -> str:
    """Of the Dag that trains, validates and promotes."""
    return _page(
        spec,
        "train a candidate, judge it on the holdout, release it if it passes",
        makes="an MLflow run, a registered version with verdicts, and alias `champion` (the "
        "first model) or `canary`; a candidate that does not pass keeps its tags and "
        "`promote_candidate` is skipped.",
        rerun="with the same data, code and spec finds the finished run again.",
        schedule=f"{in_words(spec.schedules.retrain)} ({spec.zone}), by an event of the asset "
        f"`{spec.names.retrain_request}` (its extra may say `as_of`), or by hand. Ships paused.",
    )


def task(spec: UseCase, stage: str) -> str:
    """Of a task, which is one stage."""
    reads, makes, command = _TASKS[stage]
    return "\n".join(
        (
            f"- **Reads** {reads}.",
            f"- **Makes** {makes}.",
            f"- **By hand**: `flightline {command.format(slug=spec.slug)}`; again gives the same.",
            f"- **When it fails**: {_REPAIR}; then {_runbook(spec)}.",
        )
    )


def in_words(cron: str) -> str:
    """A cron expression as a person says it, followed by the expression itself.

    >>> in_words("0 6 1 * *")
    'at 06:00, on day 1 of the month: `0 6 1 * *`'
    """
    options = Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"  # the default is the machine's: a page must not depend on it
    said = str(get_description(cron, options))
    return f"{said[:1].lower()}{said[1:]}: `{cron}`"


def asked(lead: timedelta) -> str:
    """When somebody asks, before the event.

    >>> asked(timedelta(hours=2)), asked(timedelta(days=1)), asked(timedelta(0))
    ('2 hours before the event', '1 day before the event', 'when the event begins')
    """
    if not lead:
        return "when the event begins"
    number, unit = (lead.days, "day") if not lead.seconds else (lead / timedelta(hours=1), "hour")
    return f"{number:g} {unit}{'s' if number != 1 else ''} before the event"


def _page(
    spec: UseCase, title: str, *, makes: str, rerun: str, schedule: str, tier: int = 0
) -> str:
    tier = tier or spec.impact_tier
    owner = f"**Owner**: [{spec.owner}]({spec.contact})"
    return "\n".join(
        (
            f"{spec.title}: {title}.",
            "",
            spec.description,
            "",
            f"- **Asked**: {asked(spec.decision_lead)}",
            f"- **Makes**: {makes}",
            f"- {owner}. **Impact**: tier {tier}: {_TIERS[tier]}.",
            f"- **A rerun** {rerun}",
            f"- **Schedule**: {schedule}",
            f"- **Report**: {_report(spec)}.",
            f"- **When it fails**: {_REPAIR}; then {_runbook(spec)}.",
        )
    )


def runbook_address(spec: UseCase) -> str:
    """Where the use case's runbook can be read; without the setting its path in the repository."""
    # As `settings()` has it, whose import takes five times as long as all the rest of a Dag file.
    folder, path = os.environ.get("MLOPS_NOTIFY_RUNBOOKS", ""), spec.names.runbook
    return f"{folder.rstrip('/')}/{path.rsplit('/', 1)[-1]}" if folder else path


def _runbook(spec: UseCase) -> str:
    path, address = spec.names.runbook, runbook_address(spec)
    return f"`{path}`" if address == path else f"[{path}]({address})"


def _report(spec: UseCase) -> str:
    page = f"reports/{spec.slug}.html"
    return (
        f"`flightline report {spec.slug}` says how good the predictions were, and writes `{page}`"
    )
