"""What people type wrong ends with its reason and exit code, and without a traceback."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import small_spec

from ml import cli
from ml import settings as settings_module
from ml.use_cases import available

if not available():
    pytest.skip("commands need a use case", allow_module_level=True)
SLUG = available()[0]
Say = tuple[int, str, str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    settings_module.settings.cache_clear()
    yield tmp_path / "home"
    settings_module.settings.cache_clear()


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Say]:
    """Run a command line; its exit code, output and errors."""

    def run(*words: str) -> Say:
        monkeypatch.setattr(sys, "argv", ["flightline", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err and "fault of Flightline" not in shown.err, shown.err
        return int(ended.value.code or 0), shown.out, shown.err

    return run


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("nonsense", 2, "No such command 'nonsense'"),
        ("--nonsense", 2, "No such option: --nonsense"),
        ("ingest", 2, "Missing argument"),
        ("ingest nonsense 2013-01-01", 2, "one of: "),
        ("ingest ../etc 2013-01-01", 2, "unknown use case '../etc'"),
        ("ingest SLUG yesterday", 2, "bad partition key 'yesterday'"),
        ("ingest SLUG 1066-10-15", 2, "outside the source"),
        ("ingest SLUG LAST FIRST", 2, "swap the two keys"),
        ("ingest SLUG FIRST --revision now", 2, "ISO 8601 with an offset"),
        ("transform SLUG", 2, "--stale"),
        ("transform SLUG FIRST", 3, "flightline ingest SLUG"),
        ("materialize SLUG FIRST", 3, "not transformed yet"),
        ("score SLUG FIRST --source guess", 2, "'score'"),
        ("train SLUG", 3, "nothing of SLUG was ingested yet"),
        ("train SLUG --as-of soon", 2, "bad partition key 'soon'"),
        ("validate SLUG one", 2, "valid integer"),
        ("validate SLUG -1", 2, "No such option: -1"),
        ("predictions SLUG", 3, "was ever trained here"),
        ("report SLUG", 3, "was ever trained here"),
        ("features SLUG --as-of LAST --output .", 2, "a .parquet file"),
        ("quarantine show SLUG nothing FIRST", 2, "has no table 'nothing'"),
        ("dbt SLUG", 2, "no dbt command"),
        ("calibrate nonsense", 2, "unknown use case"),
        ("run SLUG --first x", 2, "bad partition key 'x'"),
        ("demo nonsense", 2, "unknown use case"),
        ("remove nonsense", 2, "nothing was removed"),
        ("status nonsense", 2, "unknown use case"),
        ("logs nonsense", 2, "one of: mlflow"),
        ("logs -n -3", 2, "greater than or equal to 0"),
        ("alerts nonsense", 2, "unknown use case"),
        ("alerts -n many", 2, "valid integer"),
    ],
)
def test_a_mistake_is_answered_in_words(
    say: Callable[..., Say], home: Path, command: str, code: int, said: str
) -> None:
    from ml.use_cases import load_spec

    spec = load_spec(SLUG)
    values = {"SLUG": SLUG, "FIRST": spec.coverage.first, "LAST": spec.coverage.last}
    outside = spec.calendar.parse(spec.coverage.first).key
    words = [values.get(word, word) for word in command.split()]
    if "1066-10-15" in words:
        words[-1] = "1066-10-15" if len(outside) == 10 else outside.replace(outside[:4], "1066")
    found, out, err = say(*words)
    told = " ".join(err.replace("│", " ").split())
    assert (found, out) == (code, ""), err
    assert said.replace("SLUG", SLUG) in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLOPS_HOME", "/etc/passwd"),
        ("MLOPS_PROFILE", "moon"),
        ("MLOPS_DUCKDB_THREADS", "-1"),
        ("MLOPS_AIRFLOW_PORT", "http"),
    ],
)
@pytest.mark.parametrize("command", ["status", "list", "alerts", "down"])
def test_a_setting_that_makes_no_sense_stops_every_command(
    say: Callable[..., Say], monkeypatch: pytest.MonkeyPatch, command: str, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    settings_module.settings.cache_clear()
    code, _, err = say(command)
    assert code == 2 and f"setting {name}={value!r}" in err


@pytest.mark.parametrize("kind", ["file", "folder", "garbage"])
def test_what_stands_in_the_place_of_the_alerts_is_told(
    say: Callable[..., Say], home: Path, kind: str
) -> None:
    (home / "logs").mkdir(parents=True)
    file = home / "logs" / "alerts.jsonl"
    if kind == "folder":
        file.mkdir()
    elif kind == "garbage":
        file.write_bytes(bytes(range(256)))
    else:
        shutil.rmtree(home / "logs")
        (home / "logs").write_text("")
    code, out, err = say("alerts")
    if kind == "garbage":
        assert (code, err) == (0, "") and "no alerts" in out
    else:
        assert code == 1 and str(file) in err


def test_alerts_are_shown_of_all_or_of_one(say: Callable[..., Say], home: Path) -> None:
    from datetime import UTC, datetime

    from ml.adapters.notify import Notifier
    from ml.core.alerts import Alert, Contact, Kind, Message, Place
    from ml.settings import settings

    spec = small_spec()
    for number, slug in enumerate(("other", SLUG, SLUG)):
        contact = Contact(slug, spec.owner, spec.contact, 4, f"docs/runbooks/{slug}.md")
        place = Place(f"{slug}_daily", f"run-{number}", "score", f"2020-01-0{number + 1}", 3)
        at = datetime(2020, 1, 9, number, tzinfo=UTC)
        alert = Alert(
            Kind.TASK_FAILED, at, place, Message(f"seen {number}", repair="mend it"), contact
        )
        Notifier(settings()).tell(alert)
    _, out, _ = say("alerts")
    assert out.count("repair: mend it") == 3
    assert [line.split()[0:2] for line in out.splitlines()[1:] if "repair" not in line] == [
        ["2020-01-09", f"0{number}:00:00"] for number in range(3)
    ]
    assert f"score of {SLUG}_daily, 2020-01-03" in out and f"docs/runbooks/{SLUG}.md" in out
    _, out, _ = say("alerts", SLUG, "-n", "1")
    assert "seen 2" in out and "seen 1" not in out
    _, out, _ = say("alerts", SLUG, "--json")
    assert '"seen": "seen 1"' in out and "seen 0" not in out
