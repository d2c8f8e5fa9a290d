"""Whether the environment is the one that `uv.lock` describes, and whole."""

from __future__ import annotations

import importlib.util
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml.local.doctor.check import SETUP, Check

ROOT = Path(__file__).resolve().parents[3]
OURS = "flightline"
SCRIPTS = (OURS, "airflow", "mlflow")  # those by which the platform is started
COMPILE = "rm .venv/.ready; make setup"
SHOWN = 5


def check_packages() -> Check:
    """Another version than the locked one is an environment that nobody has tested."""
    installed = _installed(Path(sysconfig.get_path("purelib")))
    wrong = []
    for name, version in locked(ROOT / "uv.lock").items():
        found = installed.get(name)
        if found is None:
            wrong.append(f"{name} is missing")
        elif found.version != version:
            wrong.append(f"{name} is {found.version} instead of {version}")
        elif lost := found.lost_file():
            wrong.append(f"{name} lacks {lost}")
    if not wrong:
        return Check("packages", True, f"{len(installed)}, as locked{_bytecode()}")
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return Check("packages", False, ", ".join(wrong[:SHOWN]) + more, SETUP)


def check_scripts() -> Check:
    """A script names its interpreter by its path, so an environment cannot be moved."""
    folder = Path(sys.executable).parent
    wrong = [f"{folder / name} {why}" for name in SCRIPTS if (why := _broken(folder / name))]
    detail = ", ".join(wrong) or f"{', '.join(SCRIPTS)} in {folder}"
    return Check("scripts", not wrong, detail, SETUP)


def locked(file: Path) -> dict[str, str]:
    """Version of each package that the platform needs on this machine, by name."""
    import tomllib

    packages: dict[str, list[dict[str, Any]]] = {}
    for package in tomllib.loads(file.read_text())["package"]:
        packages.setdefault(package["name"], []).append(package)
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting: list[tuple[dict[str, Any], str]] = [(packages[OURS][0], "")]
    while waiting:
        package, extra = waiting.pop()
        for needed in _needs(package, extra):
            chosen = _choose(packages[needed["name"]], needed.get("version"))
            found[chosen["name"]] = chosen["version"]
            for its_extra in ("", *needed.get("extra", ())):
                if (key := (chosen["name"], its_extra)) not in seen:
                    seen.add(key)
                    waiting.append((chosen, its_extra))
    return found


def _needs(package: dict[str, Any], extra: str) -> Iterator[dict[str, Any]]:
    from packaging.markers import Marker

    listed = package.get("optional-dependencies", {}).get(extra, ()) if extra else ()
    for needed in listed or (() if extra else package.get("dependencies", ())):
        if "marker" not in needed or Marker(needed["marker"]).evaluate():
            yield needed


def _choose(packages: list[dict[str, Any]], version: str | None) -> dict[str, Any]:
    return next(found for found in packages if version in (None, found["version"]))


class _Installed:
    """A package as its folder of metadata describes it: by far the quickest way to ask."""

    def __init__(self, folder: Path) -> None:
        name, self.version = folder.name.removesuffix(".dist-info").rsplit("-", 1)
        self.name, self._folder = re.sub(r"[-_.]+", "-", name).lower(), folder

    def lost_file(self) -> str:
        """The first of its modules and libraries that is not there; empty: none."""
        record = self._folder / "RECORD"
        if not record.exists():
            return "RECORD"
        site = self._folder.parent
        files = (line.rsplit(",", 2)[0].strip('"') for line in record.read_text().splitlines())
        # What lies outside is a script, and has a check of its own.
        code = (f for f in files if f.endswith((".py", ".so")) and not f.startswith(".."))
        return next((file for file in code if not (site / file).exists()), "")


def _installed(site: Path) -> dict[str, _Installed]:
    found = [_Installed(folder) for folder in site.glob("*.dist-info")]
    return {package.name: package for package in found}


def _bytecode() -> str:
    """Only a hint: the first start compiles what is missing."""
    found = importlib.util.find_spec("airflow")
    compiled = importlib.util.cache_from_source(found.origin) if found and found.origin else ""
    is_compiled = bool(compiled) and Path(compiled).exists()
    return "" if is_compiled else "; not compiled, so first starts are slow: " + COMPILE


def _broken(script: Path) -> str:
    if not script.exists():
        return "is missing"
    first = script.read_bytes().split(b"\n", 1)[0].decode(errors="replace")
    interpreter = Path(first.removeprefix("#!").strip())
    is_named = first.startswith("#!/") and interpreter.name != "sh"
    return "" if not is_named or interpreter.exists() else f"asks for {interpreter}, which is gone"
