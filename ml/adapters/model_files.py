"""A model as a folder of files, without pickle: what it expects (its contract), and the model.

| file | holds |
|---|---|
| `contract.json` | kind, problem, columns in their order, the categories behind each code |
| `model.lgb`, `model.skops`, `rule.json` | LightGBM's text, scikit-learn by skops, plain numbers |
| `lower.lgb`, `upper.lgb`, `interval.json` | what gives the ends of an interval, if anything does |

MLflow stores this module beside the files and loads them with it (`_load_pyfunc`), so that
`mlflow models serve` needs nothing of the platform: nothing of it is imported here.
`ml.adapters.model_writing` makes the files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONTRACT = "contract.json"
LIGHTGBM, LOGISTIC, LINEAR, RULE = "lightgbm", "logistic", "linear", "rule"
PERSISTENCE, SEASONAL_NAIVE = "persistence", "seasonal_naive"
NAIVE = (PERSISTENCE, SEASONAL_NAIVE)  # a column as it is
NATIVE = {
    LIGHTGBM: "model.lgb",
    LOGISTIC: "model.skops",
    LINEAR: "model.skops",
    RULE: "rule.json",
    **dict.fromkeys(NAIVE, "rule.json"),
}
LOWER, UPPER, INTERVAL = "lower.lgb", "upper.lgb", "interval.json"


class ModelError(ValueError):
    """A model's files or its input are not what they should be."""


@dataclass(frozen=True)
class Contract:
    """What a model expects of its input.

    Attributes:
        kind: one of `NATIVE`.
        problem: binary, multiclass or regression.
        columns: in the order of the model.
        categories: values of each column that holds text, in the order of their codes.
        offset: column that is added to what the model gives, which has learned the difference from
            it; empty: none.
        classes: their names, in the order of the answer's columns; multiclass only.
    """

    kind: str
    problem: str
    columns: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    offset: str = ""
    classes: tuple[str, ...] = ()

    @classmethod
    def from_bytes(cls, content: bytes) -> Contract:
        """The reverse of `to_bytes`; models from before a field was there have its default."""
        try:
            return cls.from_plain(json.loads(content), CONTRACT)
        except ValueError as error:
            raise _no_contract(CONTRACT, error) from error

    @classmethod
    def from_plain(cls, plain: Any, name: str) -> Contract:
        """The reverse of `to_plain`.

        Args:
            name: of the file, for errors.
        """
        try:
            kind, problem = str(plain["kind"]), str(plain["problem"])
            columns = tuple(map(str, plain["columns"]))
            categories = {str(n): tuple(map(str, v)) for n, v in plain["categories"].items()}
            offset, classes = str(plain.get("offset", "")), plain.get("classes", ())
            found = cls(kind, problem, columns, categories, offset, tuple(map(str, classes)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _no_contract(name, error) from error
        if kind not in NATIVE or not set(categories) <= set(columns) or offset in categories:
            raise ModelError(f"{name} is of a model that cannot be read here: {kind!r}")
        return found

    def to_plain(self) -> dict[str, Any]:
        """For JSON; what is empty is left out, so that earlier models keep their digests."""
        plain = {
            "kind": self.kind,
            "problem": self.problem,
            "columns": list(self.columns),
            "categories": {name: list(values) for name, values in self.categories.items()},
        }
        more = {"offset": self.offset, "classes": list(self.classes)}
        return plain | {name: value for name, value in more.items() if value}

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return json.dumps(self.to_plain(), sort_keys=True, separators=(",", ":")).encode()

    @property
    def inputs(self) -> tuple[str, ...]:
        """What is read: the columns, and the offset if it is none of them."""
        return tuple(dict.fromkeys((*self.columns, *([self.offset] if self.offset else []))))

    def encode(self, frame: pd.DataFrame) -> Floats:
        """The model's matrix, shape (rows, inputs): numbers, and codes of text.

        What is missing, or a text that training never saw, is NaN.

        Raises:
            ModelError: naming a column that is missing, or that should hold numbers.
        """
        names = self.inputs
        if absent := [name for name in names if name not in frame.columns]:
            raise ModelError(
                f"no column {', '.join(absent[:5])} in the features"
                + (f", and {len(absent) - 5} more" if len(absent) > 5 else "")
            )
        numbers = [i for i, name in enumerate(names) if name not in self.categories]
        matrix = np.empty((len(frame), len(names)))
        matrix[:, numbers] = _numbers(frame, [names[i] for i in numbers])
        for i, name in enumerate(names):
            if name in self.categories:
                matrix[:, i] = _codes(frame[name], self.categories[name])
        return matrix

    def answer(self, native: Callable[[Floats], Floats], matrix: Floats) -> Floats:
        """What a model of the columns gives for rows of `encode`, the offset added."""
        found = native(matrix[:, : len(self.columns)])
        return found + matrix[:, self.inputs.index(self.offset)] if self.offset else found


def _no_contract(name: str, error: Exception) -> ModelError:
    return ModelError(f"{name} is not a model's contract: {error!r}")


def contract_digest(content: bytes) -> str:
    """SHA-256 of what a `contract.json` says, however it is spaced; 64 digits."""
    return sha256(Contract.from_bytes(content).to_bytes()).hexdigest()


def text_of(value: object) -> str | None:
    """A category as text: whether a whole number came as 5 or as 5.0 makes no difference.

    >>> text_of(5.0), text_of("EWR"), text_of(None), text_of(float("nan"))
    ('5', 'EWR', None, None)
    """
    import pandas as pd

    if pd.isna(value):  # type: ignore[call-overload]  # any scalar will do
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def as_text(values: pd.Series) -> NDArray[np.object_]:
    """A column of categories as text, None where unknown; shape (n,)."""
    import pandas as pd

    codes, distinct = pd.factorize(values)
    texts = np.array([*map(text_of, distinct), None], dtype=object)
    return texts[codes]  # code -1, for unknown, is the last


def _codes(values: pd.Series, categories: Sequence[str]) -> Floats:
    import pandas as pd

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
        columns: that answer and interval are made from.
    """

    def __init__(
        self,
        contract: Contract,
        native: Callable[[Floats], Floats],
        interval: Interval | None = None,
    ) -> None:
        self.contract, self._native, self._interval = contract, native, interval
        self.kind = contract.kind
        inputs = (*contract.inputs, *(interval.contract.inputs if interval else ()))
        self.columns = tuple(dict.fromkeys(inputs))
        self.contract_sha256 = sha256(contract.to_bytes()).hexdigest()

    def of_matrix(self, matrix: Floats) -> Floats:
        """The answer from what `Contract.encode` gives."""
        return self.contract.answer(self._native, matrix)

    def predict(self, features: pd.DataFrame) -> Floats:
        """Probability of class 1 or value, shape (n,); of each class, shape (n, classes).

        Raises:
            ModelError: naming a column that is missing, or that should hold numbers.
        """
        return self.of_matrix(self.contract.encode(features))

    def interval(self, features: pd.DataFrame) -> Floats | None:
        """Lower and upper end around each value, shape (n, 2); None without an interval.

        Raises:
            ModelError: as `predict`.
        """
        return None if self._interval is None else self._interval.of(features)


def read_model(files: Mapping[str, bytes]) -> Predictor:
    """The model in a folder's files.

    Check the digests of files that come from outside first: LightGBM's parser ends the process on
    some broken ones.

    Raises:
        ModelError: if a file is missing or is not what its name says.
    """
    contract = Contract.from_bytes(_file(files, CONTRACT))
    readers = {LIGHTGBM: _read_lightgbm, RULE: _read_rule, **dict.fromkeys(NAIVE, _read_naive)}
    read = readers.get(contract.kind, _read_skops)
    native = _parsed(read, contract, files, NATIVE[contract.kind])
    return Predictor(contract, native, read_interval(files))


def _parsed(
    read: Callable[[Contract, bytes, str], Callable[[Floats], Floats]],
    contract: Contract,
    files: Mapping[str, bytes],
    name: str,
) -> Callable[[Floats], Floats]:
    try:
        return read(contract, _file(files, name), name)
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


def _read_lightgbm(contract: Contract, content: bytes, name: str) -> Callable[[Floats], Floats]:
    import lightgbm

    text = content.decode()
    _require_whole(content, name)
    booster = lightgbm.Booster(model_str=text)
    _require_columns(contract, booster.num_feature(), name)
    _require_classes(contract, booster.num_model_per_iteration(), name)

    def predict(matrix: Floats) -> Floats:
        found: Floats = np.asarray(booster.predict(matrix, num_threads=1), dtype=np.float64)
        return found

    return predict


def _require_columns(contract: Contract, found: int, name: str) -> None:
    if found != len(contract.columns):
        raise ModelError(f"{name} has {found} columns, its contract {len(contract.columns)}")


def _require_classes(contract: Contract, found: int, name: str) -> None:
    """Of one probability or one value, there are no names."""
    if found != (len(contract.classes) or 1):
        raise ModelError(f"{name} has {found} classes, its contract {len(contract.classes)}")


def _require_whole(content: bytes, name: str) -> None:
    """Every tree is where the header says: a file that was cut or changed in length is not read.

    LightGBM's own parser would end the process.
    """
    header, _, _ = content.partition(b"\nTree=0\n")
    sizes = re.search(rb"^tree_sizes=([\d ]+)$", header, flags=re.MULTILINE)
    if not content.startswith(b"tree\n") or not sizes:
        raise ModelError(f"{name} is not LightGBM's text, or is cut")
    position = len(header) + 1
    for number, size in enumerate(map(int, sizes[1].split())):
        if not content.startswith(b"Tree=%d\n" % number, position):
            raise ModelError(f"{name} is broken at tree {number}")
        position += size
    if not content.startswith(b"end of trees\n", position) or b"\nend of parameters" not in content:
        raise ModelError(f"{name} is cut")


# --- an interval ---


def interval_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the files of the interval, 64 digits; empty without one."""
    own = {name: content for name, content in files.items() if name in (LOWER, UPPER, INTERVAL)}
    listed = [f"{name}={sha256(content).hexdigest()};" for name, content in sorted(own.items())]
    return sha256("".join(listed).encode()).hexdigest() if own else ""


@dataclass(frozen=True)
class Interval:
    """What gives the ends around an answer; it may see other columns than the model itself."""

    contract: Contract
    of_matrix: Callable[[Floats], Floats]

    def of(self, features: pd.DataFrame) -> Floats:
        """Lower and upper end, shape (n, 2)."""
        return self.of_matrix(self.contract.encode(features))


def read_interval(files: Mapping[str, bytes]) -> Interval | None:
    """The interval in a folder's files, if there is one.

    Raises:
        ModelError: as `read_model`.
    """
    if not {LOWER, UPPER, INTERVAL} & set(files):
        return None
    try:
        plain = json.loads(_file(files, INTERVAL))
        contract = Contract.from_plain(plain["contract"], INTERVAL)
        outwards = np.array([-1.0, 1.0]) * float(plain["widen"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{INTERVAL} cannot be read: {error!r}") from error
    lower, upper = (_parsed(_read_lightgbm, contract, files, name) for name in (LOWER, UPPER))

    def ends(matrix: Floats) -> Floats:
        both = [contract.answer(one, matrix) for one in (lower, upper)]
        # Two models of their own may cross; and a narrowing may be more than there is.
        return np.sort(np.sort(np.column_stack(both), axis=1) + outwards, axis=1)

    return Interval(contract, ends)


# --- scikit-learn ---


def scaled(scaling: Any, matrix: Floats) -> Floats:
    """Scaled numbers, where missing ones are the mean, and codes as indicators.

    Not with a SimpleImputer: its state holds a numpy.dtype, which skops does not trust.
    """
    found: Floats = scaling.transform(matrix)
    found[np.isnan(found)] = 0.0
    return found


def _read_skops(contract: Contract, content: bytes, name: str) -> Callable[[Floats], Floats]:
    import skops.io

    # Nothing beyond what skops itself holds harmless: the list is never read from the file.
    pipeline = skops.io.loads(content, trusted=[])
    scaling, model = (step for _, step in pipeline.steps)
    _require_columns(contract, scaling.n_features_in_, name)
    is_value = contract.kind == LINEAR
    _require_classes(contract, 1 if is_value else np.atleast_2d(model.coef_).shape[0], name)

    def probabilities(matrix: Floats) -> Floats:
        found: Floats = model.predict_proba(scaled(scaling, matrix))
        return found if contract.classes else found[:, 1]

    def value(matrix: Floats) -> Floats:
        found: Floats = model.predict(scaled(scaling, matrix))
        return found

    return value if is_value else probabilities


# --- a rule ---


def _read_rule(contract: Contract, content: bytes, name: str) -> Callable[[Floats], Floats]:
    plain = json.loads(content)
    base = np.atleast_1d(np.asarray(plain["base"], dtype=np.float64))
    width = len(contract.columns)
    _require_classes(contract, len(base), name)
    values = {
        tuple(map(int, row[:width])): list(map(float, row[width:])) for row in plain["groups"]
    }
    if any(len(value) != len(base) for value in values.values()):
        raise ModelError(f"{name} has groups with another number of values than its base")

    def predict(matrix: Floats) -> Floats:
        codes = np.nan_to_num(matrix, nan=-1).astype(int)  # no group has the code -1
        distinct, index = np.unique(codes, axis=0, return_inverse=True)
        found = [values.get(tuple(row), base) for row in distinct.tolist()]
        all_ = np.array(found, dtype=np.float64).reshape(-1, len(base))[index.reshape(-1)]
        return all_ if contract.classes else all_[:, 0]

    return predict


def _read_naive(contract: Contract, content: bytes, name: str) -> Callable[[Floats], Floats]:
    if [json.loads(content)["column"]] != list(contract.columns):
        raise ModelError(f"{name} is of another column than its contract")
    return lambda matrix: matrix[:, 0]
