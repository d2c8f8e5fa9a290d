from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from ml.core.errors import ConfigError
from ml.local.ports import (
    Ports,
    check_free,
    is_free,
    keep_ports,
    kept_ports,
    load_ports,
    ports_file,
)
from ml.settings import Settings


def test_ports_are_kept_between_starts(scratch):
    first = load_ports(scratch)
    keep_ports(scratch, first)
    assert load_ports(scratch) == kept_ports(scratch) == first
    assert first.airflow != first.mlflow


def test_looking_at_ports_keeps_none(scratch):
    load_ports(scratch)
    assert kept_ports(scratch) is None
    assert not scratch.home.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"airflow": 1}'])
def test_a_damaged_file_is_as_none(scratch, text):
    scratch.home.mkdir()
    ports_file(scratch).write_text(text)
    assert kept_ports(scratch) is None
    assert load_ports(scratch).mlflow


def test_settings_win_over_kept_ports(scratch):
    kept = load_ports(scratch)
    keep_ports(scratch, kept)
    changed = load_ports(Settings(home=scratch.home, airflow_port=18_080, mlflow_port=0))
    assert (changed.airflow, changed.mlflow) == (18_080, kept.mlflow)


@pytest.mark.parametrize(("name", "other"), [("airflow", "mlflow"), ("mlflow", "airflow")])
def test_a_port_that_was_kept_for_the_other_moves_that_one(scratch, name, other):
    """Both would start there, and one of them could not."""
    kept = load_ports(scratch)
    keep_ports(scratch, kept)
    taken = getattr(kept, other)
    given = {"airflow_port": 0, "mlflow_port": 0, f"{name}_port": taken}
    ports = load_ports(Settings(home=scratch.home, **given))
    assert getattr(ports, name) == taken and ports.airflow != ports.mlflow
    check_free(scratch, ports)


@pytest.mark.parametrize("given", [True, False])
def test_choosing_anew_is_advised_only_for_a_kept_port(scratch, given):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = Ports(airflow=other.getsockname()[1], mlflow=load_ports(scratch).mlflow)
        keep_ports(scratch, ports)
        port = ports.airflow if given else 0
        settings = Settings(home=scratch.home, airflow_port=port, mlflow_port=0)
        with pytest.raises(ConfigError) as error:
            check_free(settings, ports)
    assert (f"rm {ports_file(scratch)}" in error.value.repair) is not given


def test_a_taken_port_is_named(scratch):
    """The error names the port, the variable that moves it and the program that holds it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        ports = Ports(airflow=taken, mlflow=load_ports(scratch).mlflow)
        with pytest.raises(ConfigError) as error:
            check_free(scratch, ports)
    assert f"port {taken} for airflow is taken" in error.value.seen
    assert "MLOPS_AIRFLOW_PORT" in error.value.repair


def test_free_ports_pass(scratch):
    check_free(scratch, load_ports(scratch))


def test_chosen_ports_are_not_lent_to_outgoing_connections(scratch):
    """Linux lends from 32768 on, macOS from 49152 on: a kept port must not be one of them."""
    ports = load_ports(scratch)
    assert max(ports.airflow, ports.mlflow) < 32_768


LISTENER = """
import mmap, socket, sys
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
listening.listen()
memory = mmap.mmap(-1, int(sys.argv[1]))
for page in range(0, len(memory), mmap.PAGESIZE):
    memory[page] = 1
print(listening.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a holder is told to root alone")
def test_a_port_of_a_process_that_is_just_dying_is_waited_for(scratch):
    """It gives back its memory first, and closes its sockets when that is done."""
    command = [sys.executable, "-c", LISTENER, str(500 * 2**20)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        port = int(server.stdout.readline())
        server.kill()
        check_free(scratch, Ports(airflow=port, mlflow=load_ports(scratch).mlflow))
        assert is_free(port)
