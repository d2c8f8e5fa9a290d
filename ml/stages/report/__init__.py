"""Report: how good the predictions were, once their labels are in; one page and its figures."""

from __future__ import annotations

from pathlib import Path

from ml.adapters.files import replacing
from ml.core.errors import ConfigError
from ml.core.ports import Platform
from ml.stages.report.page import page
from ml.stages.report.pictures import pictures
from ml.stages.report.quality import Quality, quality_of
from ml.stages.report.rows import read_judged


def run(platform: Platform, *, first: str = "", last: str = "", output: Path) -> Quality:
    """Judge the predictions of these partitions and write the page.

    Args:
        first, last: partition keys, both included; default: all that were scored.
        output: an .html file; its folder is made.

    Raises:
        ConfigError: if a key is malformed, or `output` is no such file.
        DataError: if there are no predictions, or no labels of them yet.
    """
    if output.suffix not in (".html", ".htm") or output.is_dir():
        raise ConfigError(f"cannot write {output}", expected="an .html file")
    judged = read_judged(platform, first, last)
    quality = quality_of(judged)
    content = page(platform.spec, quality, pictures(judged, quality))
    with replacing(output) as temporary:
        temporary.write_text(content)
    return quality
