"""Secrets of the local platform: generated once, kept in its home, readable by its owner only."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml.adapters.files import replacing, sync
from ml.core.errors import ConfigError

if TYPE_CHECKING:
    from ml.settings import Settings

ENGINEER, APPROVER = "engineer", "approver"
ROLES = {ENGINEER: "admin", APPROVER: "op"}


@dataclass(frozen=True)
class Secrets:
    """What Airflow signs, encrypts and logs in with.

    Attributes:
        jwt_secret: signs the tokens of users and tasks; 64 bytes, or PyJWT warns in every log.
        passwords: of the named users; with anonymous admins no approval would have a name.
    """

    jwt_secret: str
    api_secret_key: str
    fernet_key: str
    passwords: dict[str, str]


def secrets_file(settings: Settings) -> Path:
    return settings.home / "secrets.json"


def load_secrets(settings: Settings) -> Secrets:
    """Read the secrets; the first call generates them.

    Raises:
        ConfigError: if the file cannot be understood.
    """
    path = secrets_file(settings)
    if not path.exists():
        write_private(path, json.dumps(asdict(_generate()), indent=2))
    try:
        return Secrets(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"cannot read {path}: {error}",
            expected="the JSON that the first start wrote",
            repair=f"stop the platform, then: rm {path}",
        ) from error


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, and for good; no other user can read it at any moment.

    Raises:
        TransientError: if the disk is full.
        ConfigError: if the folder cannot be written to.
    """
    try:
        with replacing(path) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
        sync(path.parent)
    except OSError as error:
        raise ConfigError(
            f"cannot write to {path.parent}: {error}",
            expected="a folder of yours",
            repair="set MLOPS_HOME",
        ) from error


def passwords_file(settings: Settings) -> Path:
    return settings.airflow_home / "passwords.json"


def write_airflow_passwords(settings: Settings, passwords: dict[str, str]) -> None:
    """Airflow would generate this file itself, with mode 644, and print the passwords."""
    write_private(passwords_file(settings), json.dumps(passwords) + "\n")


def _generate() -> Secrets:
    return Secrets(
        jwt_secret=secrets.token_urlsafe(64),
        api_secret_key=secrets.token_urlsafe(32),
        fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        passwords={user: secrets.token_urlsafe(12) for user in ROLES},
    )
