"""The command line: what it refuses, what it imports, how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import SLUG, small_spec
from typer.testing import CliRunner

from ml import cli, use_cases
from ml import settings as settings_module
from ml.cli import app
from ml.core.errors import ConfigError, DataError, GateRejected
from ml.local import commands, supervisor
from ml.stages import chain
from ml.stages.runner import Arguments, StageRun

HEAVY = ("mlflow", "feast", "pandas", "lightgbm")


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    settings_module.settings.cache_clear()
    yield tmp_path / "home"
    settings_module.settings.cache_clear()


def in_new_process(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )


BROKEN_OPENMP = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "lightgbm":
            raise OSError("libgomp.so.1: cannot open shared object file")

sys.meta_path.insert(0, Blocked())
"""
RUN = """
import sys
from ml.cli import main
sys.argv[1:] = {arguments!r}
try:
    main()
except SystemExit:
    pass
print("loaded:", [name for name in {heavy!r} if name in sys.modules])
"""


@pytest.mark.parametrize(
    "arguments", [["doctor"], ["status"], ["down"], ["logs"]], ids=lambda found: found[0]
)
def test_the_commands_of_the_machine_import_no_heavy_library(arguments: list[str]) -> None:
    """They are for the machine on which those libraries do not load, and must be quick."""
    code = BROKEN_OPENMP + RUN.format(arguments=arguments, heavy=HEAVY)
    done = in_new_process(code)
    assert "loaded: []" in done.stdout, done.stderr
    assert "Traceback" not in done.stderr


LEARNING = ("lightgbm", "sklearn", "optuna", "matplotlib", "skops")
PLATFORM = ("airflow", "mlflow", "feast", "dbt", "sqlalchemy", "boto3")


@pytest.mark.parametrize(
    ("arguments", "needless"),
    [
        (["--help"], ("pydantic", "numpy", "psutil", "pandas", "polars", *PLATFORM, *LEARNING)),
        (["list"], ("numpy", "pandas", "polars", "duckdb", *PLATFORM, *LEARNING)),
        (["quarantine", "list", SLUG], ("dataframely", *PLATFORM, *LEARNING)),
        (["predictions", SLUG], ("polars", "dataframely", *PLATFORM, *LEARNING)),
        (["ingest", SLUG, "2013-01-01"], ("airflow", "mlflow", "feast", "dbt", "boto3", *LEARNING)),
        (["transform", SLUG, "2013-01-01"], ("dataframely", *LEARNING)),
    ],
    ids=lambda found: found[0],
)
def test_a_command_imports_only_what_it_works_with(
    arguments: list[str], needless: tuple[str, ...]
) -> None:
    """What makes a command slow to start is what it imports: no clock is needed to see it."""
    done = in_new_process(RUN.format(arguments=arguments, heavy=needless))
    assert "loaded: []" in done.stdout, done.stdout + done.stderr


def test_the_doctor_answers_where_openmp_is_missing() -> None:
    """The loader does not find the library, and LightGBM does not either."""
    no_loader = "import ctypes\ndef CDLL(*_):\n    raise OSError('none')\nctypes.CDLL = CDLL\n"
    done = in_new_process(BROKEN_OPENMP + no_loader + RUN.format(arguments=["doctor"], heavy=HEAVY))
    assert "openmp" in done.stdout and "libgomp" in done.stderr
    assert "ConfigError: this machine lacks" in done.stderr


def test_an_error_with_verdicts_shows_their_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr: with --json, stdout stays for the result."""
    estimate = {"value": None, "lower": None, "upper": None, "rows": 0, "clusters": 0}
    gate = {"name": "better", "verdict": "INVALID", "threshold": "< 0", "reason": "no champion"}
    error = DataError("it cannot be judged", details={"gates": [{**gate, "estimate": estimate}]})

    def fail() -> None:
        raise error

    monkeypatch.setattr("ml.cli.commands.app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (3, "")
    [row] = [line.split() for line in shown.err.splitlines() if line.startswith("better")]
    assert row == ["better", "<", "0", "-", "0", "INVALID"]
    assert "better: no champion" in shown.err


class Ran:
    """Stands for `run_stage`: remembers the order, rejects if told to."""

    def __init__(self, decision: str) -> None:
        self.decision, self.stages = decision, []  # type: ignore[var-annotated]  # of pairs
        self.where: Any = None

    def __call__(self, stage: str, slug: str, arguments: Arguments, **options: Any) -> StageRun:
        self.stages.append((stage, arguments))
        self.where = options["where"]
        if stage == "promote" and self.decision == "rejected":
            raise GateRejected("it was not accepted")
        result = _Result(self.decision) if stage == "validate" else _Result()
        return StageRun(stage, result, 0.1, 0.1, 1.0)

    @property
    def names(self) -> list[str]:
        return [stage for stage, _ in self.stages]


class _Result(SimpleNamespace):
    def __init__(self, decision: str = "accepted") -> None:
        failed = SimpleNamespace(name="better", verdict="FAIL")
        passed = SimpleNamespace(name="skill", verdict="PASS")
        super().__init__(version=3, decision=decision, gates=(passed, failed))


@pytest.fixture
def ran(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Ran:
    found = Ran(getattr(request, "param", "accepted"))
    monkeypatch.setattr(chain, "run_stage", found)
    monkeypatch.setattr(StageRun, "to_plain", lambda self: {"result": {}})
    return found


RANGE = ["run", SLUG, "--first", "2013-01-01", "--last", "2013-06-07", "--as-of", "2013-06-01"]
ORDER = ["ingest", "transform", "materialize", "train", "validate", "promote", "score"]


def test_a_range_is_scored_after_the_promotion(ran: Ran) -> None:
    """Scored before it, as the Dags of a new use case are, there would be no prediction."""
    done = CliRunner().invoke(app, RANGE)
    assert (done.exit_code, ran.names) == (0, ORDER), done.output
    first, last = ran.stages[0][1], ran.stages[-1][1]
    assert (first.first, first.last) == (last.first, last.last) == ("2013-01-01", "2013-06-07")
    assert (last.source, last.version, first.as_of) == ("replay", 3, "2013-06-01")


@pytest.mark.parametrize("ran", ["rejected"], indirect=True)
def test_a_rejected_candidate_ends_a_range_with_4_after_the_rest(ran: Ran) -> None:
    done = CliRunner().invoke(app, RANGE)
    assert (done.exit_code, ran.names) == (4, ORDER), done.output
    assert done.output.count("version 3 was rejected (better FAIL)") == 1


@pytest.mark.parametrize("ran", ["rejected"], indirect=True)
def test_a_rejection_is_part_of_the_story(ran: Ran) -> None:
    done = CliRunner().invoke(app, ["run", SLUG])
    assert done.exit_code == 0, done.output
    assert "version 3 was rejected (better FAIL)" in done.output
    assert ran.names[-1] == "score"


def test_a_range_needs_no_demo(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_cases, "load_spec", lambda _: small_spec(demo=None))
    done = CliRunner().invoke(app, ["run", "toy", "--first", "2020-01-01"])
    assert (done.exit_code, ran.names) == (0, ORDER), done.output


@pytest.mark.parametrize("option", ["--last", "--as-of"])
def test_an_option_of_a_range_without_a_range_is_refused(ran: Ran, option: str) -> None:
    """It would be ignored, and the story would be played instead."""
    done = CliRunner().invoke(app, ["run", SLUG, option, "2013-06-01"])
    assert isinstance(done.exception, ConfigError)
    assert f"{option} without --first" in done.exception.seen
    assert f"flightline run {SLUG} --first" in done.exception.repair
    assert ran.names == []


@pytest.mark.parametrize(
    "options",
    [
        ["--first", "2013-99-01"],
        ["--first", "2013-01-01", "--last", "x"],
        ["--first", "2013-01-01", "--as-of", "x"],
    ],
)
def test_a_wrong_key_is_told_before_anything_runs(ran: Ran, options: list[str]) -> None:
    done = CliRunner().invoke(app, ["run", SLUG, *options])
    assert isinstance(done.exception, ConfigError)
    assert ran.names == []


def test_a_batch_cannot_pose_as_a_server() -> None:
    done = CliRunner().invoke(app, ["score", SLUG, "2013-01-01", "--source", "server"])
    assert done.exit_code == 2
    assert "replay" in done.output


def test_stages_and_jobs_use_the_server_of_a_running_platform(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what they print links to pages."""
    from ml.local import tracking
    from ml.stages import runner

    url = "http://127.0.0.1:1"
    monkeypatch.setattr(
        tracking, "with_server", lambda where: where.model_copy(update={"tracking_uri": url})
    )
    monkeypatch.setattr(runner, "run_stage", ran)
    for arguments in (RANGE, ["run", SLUG], ["train", SLUG]):
        ran.where = None
        assert CliRunner().invoke(app, arguments).exit_code == 0
        assert ran.where.tracking_uri == url


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["promote", SLUG, "2", "--champion"], {"version": 2, "as_champion": True}),
        (["promote", SLUG, "2"], {"version": 2, "as_champion": False}),
        (["rollback", SLUG, "--reason", "slow"], {"reason": "slow", "expect": 0}),
        (["rollback", SLUG, "--expect", "3"], {"reason": "", "expect": 3}),
    ],
    ids=" ".join,
)
def test_a_release_is_changed_under_the_lock_of_the_use_case(
    ran: Ran, monkeypatch: pytest.MonkeyPatch, arguments: list[str], values: dict[str, Any]
) -> None:
    from ml.stages import runner

    monkeypatch.setattr(runner, "run_stage", ran)
    assert CliRunner().invoke(app, arguments).exit_code == 0
    [(stage, given)] = ran.stages
    assert stage == arguments[0]
    assert {name: getattr(given, name) for name in values} == values


@pytest.mark.parametrize("command", ["predictions", "report"])
def test_commands_that_look_at_models_make_none(command: str, own_home: Path) -> None:
    """MLflow would make its store just to be asked."""
    done = CliRunner().invoke(app, [command, SLUG])
    assert isinstance(done.exception, DataError)
    assert "was ever trained here" in done.exception.seen
    assert not own_home.exists()


def test_an_interrupted_demo_ends_with_130_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from ml.local import demo

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "play", interrupted)
    done = CliRunner().invoke(app, ["demo"])
    assert done.exit_code == 130
    assert done.output == "interrupted; nothing was left running\n"


def test_logs_are_followed_by_name(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    """A new start puts a new file into the place of the old one."""
    called: list[str] = []

    def exec_instead(_: str, command: list[str]) -> None:
        called.extend(command)
        raise SystemExit(0)

    monkeypatch.setattr(commands.os, "execvp", exec_instead)
    CliRunner().invoke(app, ["logs", "scheduler", "-f", "-n", "5"])
    path = supervisor.log_path(settings_module.settings(), "scheduler")
    assert called == ["tail", "-n", "5", "-F", str(path)]


@pytest.mark.parametrize(
    "command", [["ingest", SLUG, "2013-01-01"], ["status"], ["up"], ["doctor"]]
)
def test_a_home_that_is_a_file_is_told_without_a_traceback(command: list[str]) -> None:
    code = RUN.format(arguments=command, heavy=())
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MLOPS_HOME": "/etc/passwd"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ConfigError: setting MLOPS_HOME='/etc/passwd'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["status"], ["status", SLUG], ["logs"], ["doctor"]])
def test_looking_at_a_home_that_was_never_started_writes_nothing(
    arguments: list[str], own_home: Path
) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 or isinstance(done.exception, ConfigError), done.output
    assert not own_home.exists()
    assert "http://" not in done.output


def test_an_empty_home_says_how_to_begin() -> None:
    done = CliRunner().invoke(app, ["status", SLUG])
    assert f"no data yet: flightline ingest {SLUG} 2" in done.output
    [row] = [line.split() for line in done.output.splitlines() if "flights" in line]
    assert row == ["flights", "0", "0", "-"]


def test_a_wrong_slug_is_told_before_the_platform() -> None:
    done = CliRunner().invoke(app, ["status", "nope"])
    assert isinstance(done.exception, ConfigError)
    assert "component" not in done.output


@pytest.mark.parametrize("arguments", [["up"], ["ingest", SLUG, "2013-01-01"]])
def test_a_home_that_cannot_be_made_is_told_without_a_traceback(arguments: list[str]) -> None:
    """Whatever the rights say: nobody makes a folder in /proc."""
    if not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    program = f"import sys\nfrom ml.cli import main\nsys.argv[1:] = {arguments!r}\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "MLOPS_HOME": "/proc/nope"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr and "/proc/nope" in done.stderr
    assert done.returncode == 1


def test_the_doctor_goes_on_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_DUCKDB_THREADS", "many")
    done = CliRunner().invoke(app, ["doctor"])
    assert isinstance(done.exception, ConfigError)
    assert "at least 1" in done.exception.expected
    assert "settings  missing" in done.output and "python" in done.output


@pytest.fixture
def chatty(own_home: Path) -> Path:
    path = own_home / "logs" / "api-server.log"
    path.parent.mkdir(parents=True)
    good = "request finished path=/x status_code=200\n" * 100
    bad = "request finished path=/x status_code=500\n"
    path.write_text("".join(f"line {n}\n" for n in range(50)) + bad + good)
    return path


@pytest.mark.parametrize(
    ("arguments", "lines"), [(["logs"], 10), (["logs", "api-server"], 40), (["logs", "-n", "3"], 3)]
)
def test_logs_leave_out_requests_that_went_well(
    chatty: Path, arguments: list[str], lines: int
) -> None:
    out = CliRunner().invoke(app, arguments).output
    assert out.count("line ") + out.count("status_code=500") == lines
    assert "status_code=200" not in out
    assert out.count("(no log yet)") == (0 if "api-server" in arguments else 3)


def test_logs_of_the_start_before(chatty: Path) -> None:
    chatty.with_suffix(".previous.log").write_text("the disk was full\n")
    out = CliRunner().invoke(app, ["logs", "api-server", "--previous"]).output
    assert "the disk was full" in out and "line 49" not in out
    done = CliRunner().invoke(app, ["logs", "-p", "-f"])
    assert isinstance(done.exception, ConfigError) and "has ended" in done.exception.expected


def test_the_address_of_a_running_platform_is_the_kept_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A port of the settings counts from the next start on."""
    from ml.local.airflow_api import AirflowApi
    from ml.local.ports import Ports, keep_ports

    monkeypatch.setenv("MLOPS_AIRFLOW_PORT", "21000")
    where = settings_module.settings()
    keep_ports(where, Ports(airflow=22_000, mlflow=22_001))
    assert supervisor.status(where).airflow_url.endswith(":22000")
    assert AirflowApi.connect(where).url.endswith(":22000")


def test_a_start_on_a_taken_port_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: object) -> None:
        raise ConfigError("port 1 is taken")

    monkeypatch.setattr(supervisor, "check_free", taken)
    done = CliRunner().invoke(app, ["up"])
    assert isinstance(done.exception, ConfigError)
    home = settings_module.settings().home
    assert [path.name for path in home.iterdir()] == ["platform.lock"]


def test_addresses_show_one_log_in_and_where_the_other_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = settings_module.settings()
    commands.show_addresses(where)
    passwords = commands.load_secrets(where).passwords
    out = capsys.readouterr().out
    assert passwords["engineer"] in out and passwords["approver"] not in out
    assert "approver" in out and "secrets.json" in out


def test_help_has_no_double_brackets_and_no_negative_fresh() -> None:
    shown = CliRunner().invoke(app, ["ingest", "--help"]).output
    assert "[LAST]" in shown and "[[LAST]]" not in shown
    assert "--no-fresh" not in CliRunner().invoke(app, ["demo", "--help"]).output


def test_the_help_of_the_demo_names_the_real_default() -> None:
    assert SLUG in CliRunner().invoke(app, ["demo", "--help"]).output
