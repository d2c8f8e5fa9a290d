"""Files with mended rows: written from the quarantine, changed by hand, and read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ml.core.errors import ConfigError, DataError
from ml.core.ports import Platform
from ml.core.spec import Table
from ml.stages.intake.compare import FLAGS, STAMP
from ml.stages.intake.deliveries import Delivery, partition_name
from ml.stages.intake.judge import GIVEN, KEY, NULLED, STOPPED, STOPPED_BY, contracts
from ml.stages.intake.memory import Mended, conformed, given_digest, recall
from ml.use_cases.contracts import Contract

_VERDICT = ("outcome", "reasons")
_SEPARATOR = "; "


def quarantined(platform: Platform, table: str, key: str | None) -> pl.DataFrame:
    """The rows of a delivery that was stopped, or else the quarantined rows of what is in the lake.

    They have `outcome` and `reasons`.
    """
    area = STOPPED if was_stopped(platform, table, key) else "quarantine"
    found = frame(platform, area, table, key)
    return found.drop(KEY) if key is None else found


def was_stopped(platform: Platform, table: str, key: str | None) -> bool:
    """Whether a whole delivery waits: nothing of it is in the lake."""
    return STOPPED_BY in platform.lake.metadata(STOPPED, table, key)


def frame(platform: Platform, area: str, table: str, key: str | None) -> pl.DataFrame:
    """One partition of the lake."""
    found = pl.from_arrow(platform.lake.read(area, table, [key]))
    assert isinstance(found, pl.DataFrame)
    return found


def write(rows: pl.DataFrame, path: Path) -> None:
    """Write rows to a .parquet or a .csv file.

    Raises:
        ConfigError: if it is neither, or cannot be written there.
    """
    suffix = _suffix(path)
    try:
        if suffix == ".parquet":
            rows.write_parquet(path)
        else:
            joined = rows.with_columns(pl.col("reasons").list.join(_SEPARATOR))
            joined.write_csv(path, quote_style="non_numeric")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error}", repair="choose another file") from error


def _suffix(path: Path) -> str:
    if path.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"unknown kind of file: {path}", expected="a .parquet or a .csv file")
    return path.suffix


def delivery(platform: Platform, table: Table, key: str | None, path: Path) -> Delivery:
    """A partition after mending.

    The file stands for the whole delivery if that was stopped. Otherwise its rows take the place
    of the quarantined ones: of all, if it has as many; else of those with the same primary key,
    and the others are judged as they are. All other rows are those that the lake has.

    Raises:
        ConfigError: if there is no such file.
        DataError: if it cannot be read or has other columns; if the partition is not in the lake,
            or has other rows with the same keys.
    """
    contract = contracts(platform.spec.slug).get(table.name)
    return _Mending(platform, table, key, path, contract).delivery()


@dataclass(frozen=True)
class _Mending:
    """A file of mended rows, and the partition that it is for."""

    platform: Platform
    table: Table
    key: str | None
    path: Path
    contract: Contract | None

    @property
    def name(self) -> str:
        return partition_name(self.table.name, self.key)

    @property
    def primary_key(self) -> Sequence[str]:
        return self.contract.key if self.contract else ()

    def delivery(self) -> Delivery:
        rows = self._rows()
        if was_stopped(self.platform, self.table.name, self.key):
            return self._made_of(rows, self._given_when_stopped())
        if not self.platform.lake.metadata("raw", self.table.name, self.key):
            command = f"flightline ingest {self.platform.spec.slug} {self.key or '…'}"
            raise DataError(
                f"{self.name} is not in the lake, so there is nothing to mend",
                repair=f"ingest it first: {command}",
            )
        known = recall(self.platform, self.table, [self.key]).get(self.key)
        if known is None:
            found = self._as_delivered()
            known = Mended(given_digest(found), found)
        return self._made_of(self._merged(rows, known.rows), known.given)

    def _made_of(self, rows: pl.DataFrame, given: str) -> Delivery:
        partitions = () if self.key is None else (self.platform.spec.partition(self.key),)
        return Delivery(self.table, partitions, rows, {self.key: given}, self.path)

    def _given_when_stopped(self) -> str:
        given = self.platform.lake.metadata(STOPPED, self.table.name, self.key).get(GIVEN)
        return given or given_digest(self._quarantined().drop(*_VERDICT, KEY, strict=False))

    def _quarantined(self) -> pl.DataFrame:
        return quarantined(self.platform, self.table.name, self.key)

    def _merged(self, rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
        """What is known of the partition, with the file's rows in the place of quarantined ones."""
        whole = self._keyed(known).select(rows.columns)
        if _without(rows, whole, whole.columns).is_empty():  # a replay that is given once more
            return whole
        before, key = self._quarantined().select(rows.columns), self.primary_key
        left = before.clear() if len(before) == len(rows) else _without(before, rows, key)
        # A row with a nulled cell is in both.
        others = _without(_without(whole, before, key or whole.columns), rows, whole.columns)
        if taken := len(others) - len(_without(others, rows, key)):
            raise DataError(
                f"{taken:,} rows of {self.path} have the keys of other rows of {self.name}",
                expected="keys that no row of the lake has: nobody could say which one is right",
                repair="mend their keys, or leave them out of the file",
            )
        return pl.concat([others, rows, left], how="diagonal_relaxed")

    def _as_delivered(self) -> pl.DataFrame:
        """The partition of the lake with its quarantined rows as they were delivered."""
        aside = self._quarantined()
        if not self.primary_key and NULLED in aside["outcome"].to_list():
            raise DataError(
                f"rows of {self.name} were nulled in a cell, and its contract has no primary key",
                expected="a key: nobody could say which rows of the lake they are",
                repair="give the contract a primary key, or have the source send the rows again",
            )
        raw = frame(self.platform, "raw", self.table.name, self.key)
        raw = raw.drop(FLAGS, STAMP, KEY, strict=False)
        aside = aside.select(raw.columns)
        return pl.concat([_without(raw, aside, self.primary_key), aside], how="diagonal_relaxed")

    def _rows(self) -> pl.DataFrame:
        """The file's rows in the contract's types; if they have others, nothing is changed."""
        found, differences = conformed(self.platform, self.table, self._keyed(self._read()))
        if differences and self.contract:
            schema = self.contract.rows
            raise DataError(
                f"{self.path} has another schema: " + "; ".join(differences),
                expected=f"the columns of {schema.__module__}.{schema.__name__}",
                repair="mend the file",
            )
        return found

    def _read(self) -> pl.DataFrame:
        suffix = _suffix(self.path)
        if not self.path.is_file():
            names = f"{self.platform.spec.slug} {self.table.name} {self.key or ''}"
            raise ConfigError(
                f"no file {self.path}",
                repair=f"write it: flightline quarantine show {names} --output {self.path}",
            )
        try:
            if suffix == ".parquet":
                rows = pl.read_parquet(self.path)
            else:
                rows = self._typed(pl.read_csv(self.path, infer_schema=False))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(
                f"cannot read {self.path}: {error}",
                expected=f"a {suffix} file as `flightline quarantine show --output` writes it",
                repair="mend the file, or write it anew",
            ) from error
        return rows.drop(*_VERDICT, KEY, strict=False)

    def _typed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Texts of a CSV file in the types of the contract, or else of what was delivered."""
        types = self.contract.columns if self.contract else self._quarantined().schema
        return rows.with_columns(
            _parsed(name, dtype) for name, dtype in types.items() if name in rows.columns
        )

    def _keyed(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows if self.key is None else rows.with_columns(pl.lit(self.key).alias(KEY))


def _without(rows: pl.DataFrame, others: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Rows that have no equal among the others."""
    return rows.join(others, on=list(key), how="anti", nulls_equal=True) if key else rows


def _parsed(name: str, dtype: pl.DataType) -> pl.Expr:
    text = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        return text.str.to_datetime(time_unit=dtype.time_unit, time_zone=dtype.time_zone)
    if dtype == pl.Boolean:
        return text.replace_strict({"true": True, "false": False}, return_dtype=pl.Boolean)
    return text.cast(dtype)
