"""What a stage costs: seconds, CPU seconds and peak memory of this process."""

from __future__ import annotations

import resource
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_STATUS = Path("/proc/self/status")


@dataclass
class Meter:
    """Measures a `with` block.

    Attributes:
        seconds: wall time.
        cpu_seconds: of this process, all threads.
        peak_mib: largest resident memory during the block; on systems without /proc, of the whole
            life of the process.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    _start: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def __enter__(self) -> Self:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: start the peak anew
        self._start = (time.perf_counter(), time.process_time())
        return self

    def __exit__(self, *_: object) -> None:
        wall, cpu = self._start
        self.seconds = time.perf_counter() - wall
        self.cpu_seconds = time.process_time() - cpu
        self.peak_mib = _peak_kib() / 1024


def _peak_kib() -> int:
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
