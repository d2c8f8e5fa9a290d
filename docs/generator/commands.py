"""Commands and errors, from the Typer application and the classes."""

from __future__ import annotations

import re

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

import ml.cli  # noqa: F401  # it adds the commands
from generator.markdown import code, summary, table
from ml.cli.base import app
from ml.core.errors import FlightlineError


def commands() -> str:
    """Help of all commands, with their examples as code."""
    group = get_command(app)
    context = typer.Context(group, info_name=app.info.name)
    text = get_docs_for_click(obj=group, ctx=context, name=str(app.info.name), indent=1)
    # Its list of commands cuts their help off; each has a section of its own below.
    text = re.sub(r"^\*\*Commands\*\*:\n\n(?:\* .+\n)+", "", text, flags=re.MULTILINE)
    return re.sub(r"(?:^Example: .+\n)+", _examples, text, flags=re.MULTILINE)


def _examples(found: re.Match[str]) -> str:
    return "```console\n" + found[0].replace("Example: ", "$ ") + "```\n"


def errors() -> str:
    """Error classes with their exit codes."""
    here = FlightlineError.__module__
    classes = [one for one in _below(FlightlineError) if one.__module__ == here]
    other = "Nobody expected it, or a step of the demo failed: the text says more."
    rows = [("anything else", str(FlightlineError.exit_code), other)]
    rows += [
        (code(one.__name__), str(one.exit_code), summary(one))
        for one in sorted(classes, key=_by_code)
    ]
    return table(["class", "exit code", "what it means"], rows)


def _by_code(one: type[FlightlineError]) -> int:
    return one.exit_code


def _below(base: type[FlightlineError]) -> list[type[FlightlineError]]:
    return [found for one in base.__subclasses__() for found in (one, *_below(one))]
