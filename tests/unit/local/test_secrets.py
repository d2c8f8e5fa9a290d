from __future__ import annotations

import json
import os

import pytest

from ml.core.errors import ConfigError
from ml.local.secrets import (
    load_secrets,
    passwords_file,
    secrets_file,
    write_airflow_passwords,
    write_private,
)


def test_secrets_are_generated_once(scratch):
    """A second start signs with the same keys, so tokens and log-ins survive."""
    assert load_secrets(scratch) == load_secrets(scratch)


def test_only_the_owner_can_read(scratch):
    """Keys and passwords are in files of mode 600, and no temporary file stays behind."""
    write_airflow_passwords(scratch, load_secrets(scratch).passwords)
    files = [secrets_file(scratch), passwords_file(scratch)]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    assert {path for path in scratch.home.rglob("*") if path.is_file()} == set(files)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write to") as caught:
        write_private(tmp_path / "file" / "home" / "secrets.json", "{}")
    assert caught.value.expected == "a folder of yours"
    assert caught.value.repair == "set MLOPS_HOME"


def test_a_power_cut_leaves_no_empty_file(monkeypatch, tmp_path):
    """Both are on the disk when it returns: the content, and the name in its folder."""
    synced, sync = [], os.fsync
    monkeypatch.setattr("os.fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), sync(fd)))
    write_private(tmp_path / "secrets.json", "{}")
    assert synced == [(tmp_path / "secrets.json").stat().st_ino, tmp_path.stat().st_ino]


def test_named_users_have_different_passwords(scratch):
    passwords = load_secrets(scratch).passwords
    assert passwords.keys() == {"engineer", "approver"}
    assert len(set(passwords.values())) == 2


def test_jwt_secret_is_long_enough(scratch):
    """PyJWT warns in every log below 64 bytes."""
    assert len(load_secrets(scratch).jwt_secret) >= 64


@pytest.mark.parametrize("text", ["", "not json", json.dumps({"jwt_secret": "x"})])
def test_a_damaged_file_is_named(scratch, text):
    load_secrets(scratch)
    secrets_file(scratch).write_text(text)
    with pytest.raises(ConfigError, match=r"secrets\.json"):
        load_secrets(scratch)
