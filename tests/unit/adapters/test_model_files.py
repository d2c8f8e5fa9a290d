"""Models as files: what goes in comes out, and what is broken is said, not crashed on."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from small_rows import COLUMNS, FRAME, LABEL, PLACES, contract

from ml.adapters import model_files
from ml.adapters.model_files import (
    CONTRACT,
    NATIVE,
    Contract,
    ModelError,
    as_text,
    contract_digest,
    read_model,
    scaled,
)
from ml.adapters.model_writing import (
    lightgbm_files,
    linear_files,
    rule_files,
)


def _lightgbm() -> dict[str, bytes]:
    plan, matrix = contract("lightgbm"), contract("lightgbm").encode(FRAME)
    data = lightgbm.Dataset(
        matrix, LABEL, feature_name=list(COLUMNS), categorical_feature=[1], params={"verbose": -1}
    )
    parameters = {"objective": "binary", "verbose": -1, "cat_smooth": 1.0, "num_threads": 1}
    return lightgbm_files(plan, lightgbm.train(parameters, data, 5))


def _logistic() -> dict[str, bytes]:
    matrix = contract("logistic").encode(FRAME)
    codes = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    scaling = ColumnTransformer([("numbers", StandardScaler(), [0]), ("codes", codes, [1])])
    model = LogisticRegression().fit(scaled(scaling.fit(matrix), matrix), LABEL)
    return linear_files(contract("logistic"), Pipeline([("scaling", scaling), ("model", model)]))


def _rule() -> dict[str, bytes]:
    groups = {(0,): 0.1, (2,): 0.7}
    return rule_files(contract("rule", ("place",)), base=0.4, groups=groups)


MAKERS: dict[str, Callable[[], dict[str, bytes]]] = {
    "lightgbm": _lightgbm,
    "logistic": _logistic,
    "rule": _rule,
}
kinds = pytest.mark.parametrize("kind", MAKERS)


@kinds
def test_what_is_written_is_read(kind: str) -> None:
    files = MAKERS[kind]()
    model = read_model(files)
    assert model.kind == kind and set(model.columns) <= set(COLUMNS)
    assert set(files) == {CONTRACT, NATIVE[kind]}
    found = model.predict(FRAME)
    assert found.shape == (600,) and ((found > 0) & (found < 1)).all()
    assert model.contract_sha256 == contract_digest(files[CONTRACT])


@kinds
def test_the_same_model_is_the_same_bytes(kind: str) -> None:
    assert MAKERS[kind]() == MAKERS[kind]()


@kinds
def test_text_that_was_never_seen_counts_as_missing(kind: str) -> None:
    model = read_model(MAKERS[kind]())
    rows = pd.DataFrame({"speed": [0.3, 0.3, 0.3], "place": ["Mars", None, np.nan]})
    unknown, none, nan = model.predict(rows)
    assert np.isfinite(unknown)
    # Logistic regression has an indicator for what was missing in training, as it was here.
    assert unknown == none == nan


@kinds
def test_one_row_as_it_is_served(kind: str) -> None:
    """A JSON row: None instead of NaN, so that the columns are of no number's type."""
    model = read_model(MAKERS[kind]())
    row = pd.DataFrame([{"place": "JFK", "speed": None}])
    assert row["speed"].dtype == object
    assert np.isfinite(model.predict(row)).all()


@kinds
def test_a_missing_column_is_named(kind: str) -> None:
    with pytest.raises(ModelError, match="no column place"):
        read_model(MAKERS[kind]()).predict(FRAME[["speed"]])


def test_text_among_numbers_is_named() -> None:
    with pytest.raises(ModelError, match="column speed should hold numbers"):
        read_model(_lightgbm()).predict(FRAME.assign(speed="fast"))


def test_the_order_of_the_columns_is_the_contracts() -> None:
    model = read_model(_lightgbm())
    assert (model.predict(FRAME[["speed", "place"]]) == model.predict(FRAME)).all()


def test_a_group_of_the_rule_has_its_value_and_all_others_the_base() -> None:
    rows = pd.DataFrame({"place": ["EWR", "JFK", "LGA", None]})
    assert read_model(_rule()).predict(rows).tolist() == [0.1, 0.4, 0.7, 0.4]


def test_a_rule_by_nothing_is_a_constant() -> None:
    files = rule_files(Contract("rule", "binary", ()), base=0.25, groups={})
    assert read_model(files).predict(FRAME).tolist() == [0.25] * 600


@pytest.mark.parametrize("values", [[5, 17], [5.0, 17.0], ["5", "17"]])
def test_a_whole_number_is_the_same_category_however_it_comes(values: list[object]) -> None:
    plan = Contract("rule", "binary", ("hour",), {"hour": ("17", "5")})
    files = rule_files(plan, base=0.0, groups={(0,): 0.17, (1,): 0.5})
    assert read_model(files).predict(pd.DataFrame({"hour": values})).tolist() == [0.5, 0.17]


def test_categories_as_text_keep_what_is_missing() -> None:
    assert as_text(pd.Series([5.0, np.nan, 6.0])).tolist() == ["5", None, "6"]
    assert as_text(pd.Series(["a", None, "b"])).tolist() == ["a", None, "b"]
    assert as_text(pd.Series([], dtype="float64")).tolist() == []


def test_the_number_of_threads_leaves_no_trace() -> None:
    files = _lightgbm()
    assert b"[num_threads: 1]" in files["model.lgb"]


def test_the_contract_tells_columns_order_and_codes_apart() -> None:
    digests = {
        contract_digest(plan.to_bytes())
        for plan in (
            contract("lightgbm"),
            contract("logistic"),
            contract("lightgbm", COLUMNS[::-1]),
            Contract("lightgbm", "binary", COLUMNS, {"place": PLACES[::-1]}),
            Contract("lightgbm", "binary", COLUMNS, {"place": PLACES[:2]}),
        )
    }
    assert len(digests) == 5


def test_the_spacing_of_the_contract_does_not_matter() -> None:
    content = contract("lightgbm").to_bytes()
    assert contract_digest(json.dumps(json.loads(content), indent=3).encode()) == contract_digest(
        content
    )


def test_contracts_from_before_have_the_digest_that_they_had() -> None:
    """They have no offset and no classes, and none is written where there is none."""
    content = (
        b'{"categories":{"place":["EWR","JFK","LGA"]},"columns":["speed","place"],'
        b'"kind":"lightgbm","problem":"binary"}'
    )
    assert contract("lightgbm").to_bytes() == content
    found = Contract.from_bytes(content)
    assert (found.offset, found.classes) == ("", ()) and found == contract("lightgbm")


# --- broken files ---


@kinds
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x00\xff\xfe", b"{}", b"[1, 2]"])
def test_garbage_is_an_error_to_read(kind: str, content: bytes) -> None:
    with pytest.raises(ModelError, match=NATIVE[kind].replace(".", r"\.")):
        read_model({**MAKERS[kind](), NATIVE[kind]: content})


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b'{"kind": "pickle"}', b"\xff"])
def test_a_broken_contract_is_an_error_to_read(content: bytes) -> None:
    with pytest.raises(ModelError, match="contract"):
        read_model({**_rule(), CONTRACT: content})


def test_a_contract_of_an_unknown_kind_is_an_error_to_read() -> None:
    with pytest.raises(ModelError, match="'pickle'"):
        read_model({CONTRACT: Contract("pickle", "binary", ()).to_bytes()})


@kinds
def test_a_file_that_is_gone_is_named(kind: str) -> None:
    files = MAKERS[kind]()
    with pytest.raises(ModelError, match=f"no file {NATIVE[kind]}"):
        read_model({CONTRACT: files[CONTRACT]})
    with pytest.raises(ModelError, match=f"no file {CONTRACT}"):
        read_model({NATIVE[kind]: files[NATIVE[kind]]})


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.95])
def test_a_cut_file_of_lightgbm_is_not_given_to_its_parser(share: float) -> None:
    """The parser ends the process on it."""
    files = _lightgbm()
    text = files["model.lgb"]
    with pytest.raises(ModelError, match=r"model\.lgb"):
        read_model({**files, "model.lgb": text[: int(len(text) * share)]})


def test_a_file_of_lightgbm_whose_length_changed_is_not_given_to_its_parser() -> None:
    files = _lightgbm()
    with pytest.raises(ModelError, match="broken at tree 1"):
        read_model({**files, "model.lgb": files["model.lgb"].replace(b"\nTree=1", b"\n\nTree=1")})


@pytest.mark.parametrize("kind", ["lightgbm", "logistic"])
def test_a_contract_of_other_columns_is_an_error_to_read(kind: str) -> None:
    other = contract(kind, (*COLUMNS, "more"))
    with pytest.raises(ModelError, match="2 columns"):
        read_model({**MAKERS[kind](), CONTRACT: other.to_bytes()})


def test_a_skops_file_with_anything_unknown_is_refused() -> None:
    """The list of trusted types is empty: a file cannot bring its own code."""
    import io

    files = _logistic()
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(files["model.skops"])) as source,
        zipfile.ZipFile(target, "w") as forged,
    ):
        for name in source.namelist():
            content = source.read(name)
            if name == "schema.json":
                schema = json.loads(content)
                schema |= {"__module__": "subprocess", "__class__": "Popen"}
                content = json.dumps(schema).encode()
            forged.writestr(name, content)
    with pytest.raises(ModelError, match=r"subprocess\.Popen"):
        read_model({**files, "model.skops": target.getvalue()})


# --- alone ---


def test_it_needs_nothing_of_the_platform(tmp_path: Path) -> None:
    """MLflow loads it by itself, in an environment with the model's requirements only."""
    (tmp_path / "model_files.py").write_text(Path(model_files.__file__).read_text())
    folder = tmp_path / "data"
    folder.mkdir()
    for name, content in _lightgbm().items():
        (folder / name).write_bytes(content)
    program = (
        "import sys, pandas, model_files\n"
        f"model = model_files._load_pyfunc({str(folder)!r})\n"
        "rows = pandas.DataFrame([{'speed': None, 'place': 'JFK'}])\n"
        "assert 0 < model.predict(rows)[0] < 1\n"
        "assert not {'ml', 'mlflow', 'skops'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, timeout=120)
