"""Commands that run whole jobs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from ml.cli.base import JOBS, AsOf, Slug, app
from ml.core.errors import ConfigError

if TYPE_CHECKING:
    from ml.stages.runner import StageRun

INTERRUPTED = 130  # what shells say of Ctrl-C


@app.command(rich_help_panel=JOBS)
def run(
    slug: Slug,
    first: Annotated[str, typer.Option(help="First partition; default: the demo's story.")] = "",
    last: Annotated[str, typer.Option(help="Last partition, included; default: FIRST.")] = "",
    as_of: AsOf = "",
) -> None:
    """The whole chain in one process, without Airflow.

    With --first: ingest, transform and materialize the range, train as of
    --as-of, validate, promote, then score the range. A partition is scored by
    the release that was in force when it began; before the first release
    (its --as-of) there is none, and the result lists it as skipped.
    If the candidate is rejected, the rest is done and the exit code is 4.

    Without --first: the story of the demo; a rejection is part of it.

    Example: flightline run SLUG --first 2013-01-01 --last 2013-06-07 --as-of 2013-06-01
    """
    from ml.use_cases import load_spec

    load_spec(slug)
    if first:
        _run_range(slug, first, last, as_of)
    elif last or as_of:
        raise ConfigError(
            f"{'--last' if last else '--as-of'} without --first",
            expected="--first, the first partition of the range; or none of them for the story",
            repair=f"flightline run {slug} --first KEY --last KEY [--as-of KEY]",
        )
    else:
        _run_story(slug)


def _run_range(slug: str, first: str, last: str, as_of: str) -> None:
    from ml.local.tracking import with_server
    from ml.settings import settings
    from ml.use_cases import load_spec

    spec, where = load_spec(slug), with_server(settings())
    spec.partitions(first, last or first)  # a wrong key should not be told after minutes
    if as_of:
        spec.as_of(as_of)
    from ml.stages.chain import run_range

    if _show(run_range(slug, first, last, as_of=as_of, where=where)):
        raise typer.Exit(4)


def _run_story(slug: str) -> None:
    from rich.text import Text

    from ml.core.story import story
    from ml.local.tracking import with_server
    from ml.render import console
    from ml.settings import settings
    from ml.use_cases import load_spec

    steps, where = story(load_spec(slug)), with_server(settings())
    from ml.stages.chain import run_step

    for step in steps:
        console().rule(Text(step.title), align="left")
        _show(run_step(slug, step, where=where))


def _show(runs: Iterable[StageRun]) -> bool:
    """Print each stage as it ends; whether a candidate was rejected."""
    from ml.render import console, rejection, stage_run

    out, is_rejected = console(), False
    for ran in runs:
        out.print(stage_run(ran))
        if line := rejection(ran):
            out.print(line, style="red", markup=False)
            is_rejected = True
    return is_rejected


class _Demo(TyperCommand):
    """Its help names the default, which is not known before the specs are read."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from ml.use_cases import demo_slug

        with suppress(ConfigError):
            self.help = f"{self.help}\n\nThe default is now: {demo_slug()}"
        super().format_help(ctx, formatter)


@app.command(rich_help_panel=JOBS, cls=_Demo)
def demo(
    slug: Annotated[
        str,
        typer.Argument(help="Use case; default: the most important with a demo.", metavar="SLUG"),
    ] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete all local state first.")] = False,
) -> None:
    """Start the platform and play the story of a use case through the real scheduler.

    Finished work is not repeated. Without SLUG it is the story of the
    most important use case that has one, by impact_tier.

    Example: flightline demo --fresh
    """
    from ml.local.demo import play, tell_interruption
    from ml.settings import settings
    from ml.use_cases import demo_slug

    try:
        play(slug or demo_slug(), settings(), fresh=fresh)
    except KeyboardInterrupt:
        tell_interruption(settings())
        raise typer.Exit(INTERRUPTED) from None
