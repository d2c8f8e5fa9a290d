"""A real S3 server for tests: rclone on a folder, on loopback, with signatures enforced."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

KEY, SECRET = "flightline", "a-secret-of-the-tests"


class S3Server:
    """Buckets are the folders in `folder`; it can be stopped and started again at its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    def environment(self, secret: str = SECRET) -> Mapping[str, str]:
        """The standard variables of a client of this server, and of nothing else."""
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }

    def start(self) -> None:
        command = [str(Path(sys.executable).parent / "rclone"), "serve", "s3", str(self.folder)]
        command += ["--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{KEY},{SECRET}"]
        command += ["--config", "", "--dir-cache-time", "1s"]
        log = self.folder.parent / "rclone.log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(command, stderr=file)
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"rclone did not start: {log.read_text()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End it at once, as a machine that fails would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
