"""A model as a folder of files, without pickle: what it expects (its contract), and the model.

| file | holds |
|---|---|
| `contract.json` | kind, problem, columns in their order, the categories behind each code |
| `model.lgb`, `model.skops`, `rule.json` | LightGBM's text, scikit-learn by skops, plain numbers |

MLflow stores this module beside the files and loads them with it (`_load_pyfunc`), so that
`mlflow models serve` needs nothing of the platform: nothing of it is imported here.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import lightgbm
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

    Floats = NDArray[np.float64]

CONTRACT = "contract.json"
LIGHTGBM, LOGISTIC, LINEAR, RULE = "lightgbm", "logistic", "linear", "rule"
NATIVE = {
    LIGHTGBM: "model.lgb",
    LOGISTIC: "model.skops",
    LINEAR: "model.skops",
    RULE: "rule.json",
}


class ModelError(ValueError):
    """A model's files or its input are not what they should be."""


@dataclass(frozen=True)
class Contract:
    """What a model expects of its input.

    Attributes:
        kind: one of `NATIVE`.
        problem: binary or regression.
        columns: in the order of the model.
        categories: values of each column that holds text, in the order of their codes.
    """

    kind: str
    problem: str
    columns: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_bytes(cls, content: bytes) -> Contract:
        """The reverse of `to_bytes`."""
        try:
            plain = json.loads(content)
            kind, problem = str(plain["kind"]), str(plain["problem"])
            columns = tuple(map(str, plain["columns"]))
            categories = {str(n): tuple(map(str, v)) for n, v in plain["categories"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{CONTRACT} is not a model's contract: {error!r}") from error
        if kind not in NATIVE or not set(categories) <= set(columns):
            raise ModelError(f"{CONTRACT} is of a model that cannot be read here: {kind!r}")
        return cls(kind, problem, columns, categories)

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        plain = {
            "kind": self.kind,
            "problem": self.problem,
            "columns": list(self.columns),
            "categories": {name: list(values) for name, values in self.categories.items()},
        }
        return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()

    def encode(self, frame: pd.DataFrame) -> Floats:
        """The model's matrix, shape (rows, columns): numbers, and codes of text.

        What is missing, or a text that training never saw, is NaN.

        Raises:
            ModelError: naming a column that is missing, or that should hold numbers.
        """
        if absent := [name for name in self.columns if name not in frame.columns]:
            raise ModelError(
                f"no column {', '.join(absent[:5])} in the features"
                + (f", and {len(absent) - 5} more" if len(absent) > 5 else "")
            )
        numbers = [i for i, name in enumerate(self.columns) if name not in self.categories]
        matrix = np.empty((len(frame), len(self.columns)))
        matrix[:, numbers] = _numbers(frame, [self.columns[i] for i in numbers])
        for i, name in enumerate(self.columns):
            if name in self.categories:
                matrix[:, i] = _codes(frame[name], self.categories[name])
        return matrix


def contract_digest(content: bytes) -> str:
    """SHA-256 of what a `contract.json` says, however it is spaced; 64 digits."""
    return sha256(Contract.from_bytes(content).to_bytes()).hexdigest()


def text_of(value: object) -> str | None:
    """A category as text: whether a whole number came as 5 or as 5.0 makes no difference.

    >>> text_of(5.0), text_of("EWR"), text_of(None), text_of(float("nan"))
    ('5', 'EWR', None, None)
    """
    if pd.isna(value):  # type: ignore[call-overload]  # any scalar will do
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def as_text(values: pd.Series) -> NDArray[np.object_]:
    """A column of categories as text, None where unknown; shape (n,)."""
    codes, distinct = pd.factorize(values)
    texts = np.array([*map(text_of, distinct), None], dtype=object)
    return texts[codes]  # code -1, for unknown, is the last


def _codes(values: pd.Series, categories: Sequence[str]) -> Floats:
    positions = {text: float(code) for code, text in enumerate(categories)}
    codes, distinct = pd.factorize(values)
    known = [positions.get(text_of(value) or "", np.nan) for value in distinct]
    return np.array([*known, np.nan])[codes]


def _numbers(frame: pd.DataFrame, columns: Sequence[str]) -> Floats:
    try:
        numbers: Floats = frame[list(columns)].to_numpy("float64", na_value=np.nan)
        # No measurement is infinite; a division by zero is a value that is not known.
        return np.where(np.isinf(numbers), np.nan, numbers)
    except (ValueError, TypeError):
        for name in columns:
            try:
                frame[name].to_numpy("float64", na_value=np.nan)
            except (ValueError, TypeError) as error:
                raise ModelError(f"column {name} should hold numbers: {error}") from error
        raise


class Predictor:
    """A model that was read; implements `ml.core.ports.Model`.

    Attributes:
        of_matrix: predicts from what `Contract.encode` gives.
    """

    def __init__(self, contract: Contract, of_matrix: Callable[[Floats], Floats]) -> None:
        self.contract, self.of_matrix = contract, of_matrix
        self.kind, self.columns = contract.kind, contract.columns
        self.contract_sha256 = sha256(contract.to_bytes()).hexdigest()

    def predict(self, features: pd.DataFrame) -> Floats:
        """Probability of class 1 or value; shape (n,).

        Raises:
            ModelError: naming a column that is missing, or that should hold numbers.
        """
        return self.of_matrix(self.contract.encode(features))


def read_model(files: Mapping[str, bytes]) -> Predictor:
    """The model in a folder's files.

    Check the digests of files that come from outside first: LightGBM's parser ends the process on
    some broken ones.

    Raises:
        ModelError: if a file is missing or is not what its name says.
    """
    contract = Contract.from_bytes(_file(files, CONTRACT))
    name = NATIVE[contract.kind]
    readers = {LIGHTGBM: _read_lightgbm, RULE: _read_rule}
    read = readers.get(contract.kind, _read_skops)
    try:
        return Predictor(contract, read(contract, _file(files, name)))
    except ModelError:
        raise
    except Exception as error:  # whatever the parsers of others raise on garbage
        raise ModelError(f"{name} cannot be read as {contract.kind}: {error}") from error


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise ModelError(f"the model has no file {name}; it has {', '.join(sorted(files)) or '-'}")
    return files[name]


def _load_pyfunc(path: str) -> Predictor:
    """What MLflow calls, with the folder of the model's files."""
    return read_model({file.name: file.read_bytes() for file in Path(path).iterdir()})


# --- LightGBM ---


def lightgbm_files(contract: Contract, booster: lightgbm.Booster) -> dict[str, bytes]:
    """A booster as files; how many threads made it changes nothing, so it is left out."""
    text = booster.model_to_string()
    text = re.sub(r"^\[num_threads: \d+\]$", "[num_threads: 1]", text, flags=re.MULTILINE)
    return {CONTRACT: contract.to_bytes(), NATIVE[LIGHTGBM]: text.encode()}


def _read_lightgbm(contract: Contract, content: bytes) -> Callable[[Floats], Floats]:
    import lightgbm

    text = content.decode()
    _require_whole(content)
    booster = lightgbm.Booster(model_str=text)
    if booster.num_feature() != len(contract.columns):
        raise ModelError(
            f"{NATIVE[LIGHTGBM]} has {booster.num_feature()} columns, "
            f"{CONTRACT} {len(contract.columns)}"
        )

    def predict(matrix: Floats) -> Floats:
        found: Floats = np.asarray(booster.predict(matrix, num_threads=1), dtype=np.float64)
        return found

    return predict


def _require_whole(content: bytes) -> None:
    """Every tree is where the header says: a file that was cut or changed in length is not read.

    LightGBM's own parser would end the process.
    """
    header, _, _ = content.partition(b"\nTree=0\n")
    sizes = re.search(rb"^tree_sizes=([\d ]+)$", header, flags=re.MULTILINE)
    if not content.startswith(b"tree\n") or not sizes:
        raise ModelError(f"{NATIVE[LIGHTGBM]} is not LightGBM's text, or is cut")
    position = len(header) + 1
    for number, size in enumerate(map(int, sizes[1].split())):
        if not content.startswith(b"Tree=%d\n" % number, position):
            raise ModelError(f"{NATIVE[LIGHTGBM]} is broken at tree {number}")
        position += size
    if not content.startswith(b"end of trees\n", position) or b"\nend of parameters" not in content:
        raise ModelError(f"{NATIVE[LIGHTGBM]} is cut")


# --- scikit-learn ---


def linear_files(contract: Contract, pipeline: Pipeline) -> dict[str, bytes]:
    """A fitted pipeline of two steps, scaling and a linear model, as files."""
    import skops.io

    content = _canonical(skops.io.dumps(pipeline))
    return {CONTRACT: contract.to_bytes(), NATIVE[contract.kind]: content}


def scaled(scaling: Any, matrix: Floats) -> Floats:
    """Scaled numbers, where missing ones are the mean, and codes as indicators.

    Not with a SimpleImputer: its state holds a numpy.dtype, which skops does not trust.
    """
    found: Floats = scaling.transform(matrix)
    found[np.isnan(found)] = 0.0
    return found


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


def _read_skops(contract: Contract, content: bytes) -> Callable[[Floats], Floats]:
    import skops.io

    # Nothing beyond what skops itself holds harmless: the list is never read from the file.
    pipeline = skops.io.loads(content, trusted=[])
    scaling, model = (step for _, step in pipeline.steps)
    if scaling.n_features_in_ != len(contract.columns):
        raise ModelError(
            f"{NATIVE[contract.kind]} has {scaling.n_features_in_} columns, "
            f"{CONTRACT} {len(contract.columns)}"
        )

    def probability(matrix: Floats) -> Floats:
        found: Floats = model.predict_proba(scaled(scaling, matrix))[:, 1]
        return found

    def value(matrix: Floats) -> Floats:
        found: Floats = model.predict(scaled(scaling, matrix))
        return found

    return probability if contract.kind == LOGISTIC else value


# --- a rule ---


def rule_files(
    contract: Contract, *, base: float, groups: Mapping[tuple[int, ...], float]
) -> dict[str, bytes]:
    """A rule as files: the value of each group, by the codes of its columns, and of all others."""
    rows = [[*codes, value] for codes, value in sorted(groups.items())]
    content = json.dumps({"base": base, "groups": rows}, separators=(",", ":"))
    return {CONTRACT: contract.to_bytes(), NATIVE[RULE]: content.encode()}


def _read_rule(contract: Contract, content: bytes) -> Callable[[Floats], Floats]:
    plain = json.loads(content)
    base = float(plain["base"])
    width = len(contract.columns)
    values = {tuple(map(int, row[:width])): float(row[width]) for row in plain["groups"]}

    def predict(matrix: Floats) -> Floats:
        if not width:
            return np.full(len(matrix), base)
        codes = np.nan_to_num(matrix, nan=-1).astype(int)  # no group has the code -1
        distinct, index = np.unique(codes, axis=0, return_inverse=True)
        found = [values.get(tuple(row), base) for row in distinct.tolist()]
        return np.array(found, dtype=np.float64)[index.reshape(-1)]

    return predict
