"""Models as folders of files, written; `ml.adapters.model_files` reads them.

The same model is the same bytes, whenever and by how many threads it was made.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ml.adapters.model_files import (
    CONTRACT,
    INTERVAL,
    LIGHTGBM,
    LOWER,
    NATIVE,
    RULE,
    UPPER,
    Contract,
)

if TYPE_CHECKING:
    import lightgbm
    from sklearn.pipeline import Pipeline


def lightgbm_files(contract: Contract, booster: lightgbm.Booster) -> dict[str, bytes]:
    """A booster as files."""
    return {CONTRACT: contract.to_bytes(), NATIVE[LIGHTGBM]: _text(booster)}


def _text(booster: lightgbm.Booster) -> bytes:
    """How many threads made it changes nothing, so it is left out."""
    text = booster.model_to_string()
    return re.sub(r"^\[num_threads: \d+\]$", "[num_threads: 1]", text, flags=re.MULTILINE).encode()


def interval_files(
    contract: Contract,
    lower: lightgbm.Booster,
    upper: lightgbm.Booster,
    *,
    coverage: float,
    widen: float,
) -> dict[str, bytes]:
    """What gives an interval as files, which go into the folder of any model.

    Args:
        contract: of both boosters; the model itself may see other columns.
        coverage: share of the labels that the interval is meant to hold.
        widen: by how much each end is moved outwards, label units.
    """
    plain = {"coverage": coverage, "widen": widen, "contract": contract.to_plain()}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return {LOWER: _text(lower), UPPER: _text(upper), INTERVAL: text.encode()}


def linear_files(contract: Contract, pipeline: Pipeline) -> dict[str, bytes]:
    """A fitted pipeline of two steps, scaling and a linear model, as files."""
    import skops.io

    content = _canonical(skops.io.dumps(pipeline))
    return {CONTRACT: contract.to_bytes(), NATIVE[contract.kind]: content}


def _canonical(content: bytes) -> bytes:
    """The same skops file without clock and memory addresses: the same model is the same bytes."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = archive.read("schema.json").decode()
        numbers: dict[str, str] = {}

        def renumbered(match: re.Match[str]) -> str:
            number = numbers.setdefault(match[2], str(len(numbers) + 1))
            return f"{match[1]}{number}{match[3]}"

        schema = re.sub(r'("__id__": |"file": ")(\d+)(\b)', renumbered, schema)
        arrays = {
            f"{number}.npy": archive.read(f"{old}.npy")
            for old, number in numbers.items()
            if f"{old}.npy" in archive.namelist()
        }
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, value in {**arrays, "schema.json": schema.encode()}.items():
            archive.writestr(zipfile.ZipInfo(name), value)  # its date is 1980
    return target.getvalue()


def rule_files(
    contract: Contract,
    *,
    base: float | Sequence[float],
    groups: Mapping[tuple[int, ...], float | Sequence[float]],
) -> dict[str, bytes]:
    """A rule as files: the value of each group, by the codes of its columns, and of all others.

    A value is a number, or one for each class.
    """
    rows = [[*codes, *np.atleast_1d(value).tolist()] for codes, value in sorted(groups.items())]
    plain = {"base": np.asarray(base).tolist(), "groups": rows}
    content = json.dumps(plain, separators=(",", ":"))
    return {CONTRACT: contract.to_bytes(), NATIVE[RULE]: content.encode()}


def naive_files(contract: Contract) -> dict[str, bytes]:
    """A forecast that costs nothing as files: the contract's one column, as it is."""
    (column,) = contract.columns
    content = json.dumps({"column": column}, separators=(",", ":"))
    return {CONTRACT: contract.to_bytes(), NATIVE[contract.kind]: content.encode()}
