from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest


@pytest.fixture
def babbler() -> Iterator[int]:
    """The port of a program that answers, and speaks no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            with suppress(OSError):  # the end of the test
                while True:
                    with server.accept()[0] as connection:
                        connection.sendall(b"SSH-2.0-OpenSSH\r\n")
                        connection.recv(1 << 16)

        threading.Thread(target=babble, daemon=True).start()
        yield server.getsockname()[1]
        with suppress(OSError):  # macOS: nobody is connected
            server.shutdown(socket.SHUT_RDWR)
