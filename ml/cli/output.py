"""Output that outlasts its reader, and a terminal that cannot show every letter."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast


@contextmanager
def lasting_output() -> Iterator[None]:
    """Whoever reads stdout or stderr may leave, as in `| head -1`: the work goes on to its end.

    Click and Rich end the process in the middle, with exit code 1.
    """
    before = _or_nowhere(sys.stdout), _or_nowhere(sys.stderr)
    sys.stdout, sys.stderr = (cast(TextIO, _Lasting(stream)) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # a full disk: Python says so when it ends
                stream.flush()
        sys.stdout, sys.stderr = before


def _or_nowhere(stream: TextIO | None) -> TextIO:
    """After `>&-` there is none: nobody wants to see it."""
    return stream or Path(os.devnull).open("w")  # for as long as the process lives


class _Lasting:
    """A stream that goes on into nothing when its reader has left."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._forget_reader()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._forget_reader()

    def _forget_reader(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        self._stream.flush()
