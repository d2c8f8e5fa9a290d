"""Commands in the shell blocks of documents, and a reader who types them one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ml.use_cases import available

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = Path(sys.executable).parent
BOOKS = {
    "low_visibility": (
        "docs/how-to/add-a-use-case.md",
        "docs/runbooks/stale-partitions.md",
        "docs/runbooks/training-rejected.md",
        "docs/runbooks/validation-invalid.md",
        "docs/runbooks/low_visibility.md",
        "docs/runbooks/mlflow-away.md",
        "docs/runbooks/lost-password.md",
        "docs/runbooks/alerts.md",
        "docs/how-to/fork.md",
        "CONTRIBUTING.md",
    ),
    "flight_delay": (
        "README.md",
        "docs/how-to/notebook.md",
        "docs/how-to/release.md",
        "docs/how-to/experiments.md",
        "docs/how-to/data.md",
        "docs/runbooks/flight_delay.md",
        "docs/runbooks/quarantine-above-limit.md",
        "docs/how-to/upkeep.md",
        "docs/runbooks/state-lost.md",
    ),
    "co2_trend": ("docs/runbooks/co2_trend.md",),
}
"""The pages that are read one after the other in one home, by the use case that it needs; the
tutorial has one of its own."""
BEFORE = {
    "co2_trend": (
        "flightline run co2_trend",
        "flightline ingest co2_trend 1980-01-28 1986-03-31",
        "flightline transform co2_trend 1980-01-28 1986-03-31",
    )
}
"""What has happened before the first page of a book, which begins in the middle of a life."""
_PLATFORM = "starts Airflow and MLflow, as the tests in e2e/ do"
_OF_TESTS = "starts tests, and this is one"
_STOPPED = "needs a delivery that was stopped, as integration/test_mended_rows.py makes one"
EXCEPTIONS = {
    "flightline up": _PLATFORM,
    "flightline demo low_visibility": _PLATFORM,
    "make demo": _PLATFORM,
    "make up": _PLATFORM,
    "make down up": _PLATFORM,
    "make test": _OF_TESTS,
    "make test-all": _OF_TESTS,
    "make conformance SLUG=flight_delay": _OF_TESTS,
    "make conformance SLUG=low_visibility": _OF_TESTS,
    "make lint": "checks the checkout, not what a command does; .ci/run does it",
    "make bench": "takes an hour; unit/local/test_bench.py has its command",
    "flightline run flight_delay": "takes as long as the demo; the other book runs low_visibility",
    "flightline report flight_delay --last 2013-06-30 --output june.html": (
        "needs the predictions of June, which the demo makes"
    ),
    "flightline calibrate low_visibility": (
        "trains for each month of the year; the line after it does three of them"
    ),
    "make setup": "would change the environment that runs the tests",
    "make upstream": "changes the checkout; integration/test_fork.py runs it in a copy",
    "flightline remove flight_delay co2_trend low_visibility": (
        "changes the checkout; integration/test_fork.py runs it in a copy"
    ),
    "cd flightline && .venv/bin/flightline backup /backups/$(date +%F).tar.zst": (
        "is for the crontab of another machine"
    ),
    "flightline quarantine show flight_delay flights 2013-07-02 --output mended.csv": _STOPPED,
    (
        "flightline quarantine replay flight_delay flights 2013-07-02"
        " --rows mended.csv --revision 2013-07-04T12:00:00+00:00"
    ): _STOPPED,
    "flightline reproduce flight_delay 446f5463c850": "the run is that of the page's author",
}
"""Commands that nobody types here, with the reason."""
_BACK = 'flightline rollback flight_delay --reason "late flights are missed"'
REFUSED = {
    ("flightline promote low_visibility 2", 2): 2,  # it was taken back before
    (_BACK, 2): 2,  # nothing is left to go back to
}
"""Commands that their page says are refused: which time of typing it, and the exit code."""

_FENCE = re.compile(r"^ *```([^\n]*)\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?:flightline|make) |cd flightline && ")


def commands_in(markdown: str) -> list[str]:
    """Calls of `flightline` and `make` in shell blocks, without comments.

    >>> commands_in("```\\nmake test  # quick\\ncat x\\n```\\n")
    ['make test']
    """
    blocks = [text for language, text in _FENCE.findall(markdown) if language in ("", "sh")]
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [re.sub(r"\s+#.*", "", line) for line in lines if _COMMAND.match(line)]


def pages() -> Iterator[str]:
    """Documents that tell people what to type; a use case of a fork tests its own runbook."""
    yield from ("README.md", "CONTRIBUTING.md", "docs/tutorial.md")
    for folder in ("how-to", "runbooks"):
        for path in sorted((ROOT / "docs" / folder).glob("*.md")):
            if folder == "how-to" or path.stem in BOOKS or path.stem not in available():
                yield path.relative_to(ROOT).as_posix()


def commands_of(page: str) -> list[str]:
    """None of a page that a fork has removed with its use case."""
    path = ROOT / page
    return commands_in(path.read_text()) if path.exists() else []


@dataclass
class Reader:
    """Types commands as they are written, in a folder and a home of their own."""

    folder: Path
    said: dict[str, str] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def read(self, page: str) -> list[str]:
        """Type all commands of a page; returns what went otherwise than it says."""
        found = (self.types(line) for line in commands_of(page) if line not in EXCEPTIONS)
        return [f"{page}: {wrong}" for wrong in found if wrong]

    def read_book(self, slug: str) -> list[str]:
        before = [wrong for line in BEFORE.get(slug, ()) if (wrong := self.types(line))]
        return before + [wrong for page in BOOKS[slug] for wrong in self.read(page)]

    def types(self, line: str) -> str:
        """Answer yes to what a line asks; returns what is wrong, if anything is."""
        done = self.runs(line, answer="y")
        self.said[line] = " ".join((done.stdout + done.stderr).split())
        self.times[line] += 1
        expected = REFUSED.get((line, self.times[line]), 0)
        if done.returncode == expected:
            return ""
        return f"{line}: exit code {done.returncode}, not {expected}: {self.said[line][-1000:]}"

    def runs(self, line: str, *, answer: str = "") -> subprocess.CompletedProcess[str]:
        """Run a line in a shell, at a terminal if it is to get an answer."""
        answers, terminal = os.openpty()
        os.write(answers, f"{answer}\n".encode())
        try:
            return subprocess.run(
                ["bash", "-c", line],
                cwd=ROOT if line.startswith("make ") else self.folder,
                env=self.environment(),
                stdin=terminal if answer else subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            os.close(answers)
            os.close(terminal)

    def environment(self) -> dict[str, str]:
        left_out = ("AIRFLOW", "PYTEST", "MLOPS", "MAKE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        path = f"{SCRIPTS}{os.pathsep}{kept['PATH']}"
        return kept | {"HOME": str(self.folder), "MLOPS_HOME": str(self.home), "PATH": path}
