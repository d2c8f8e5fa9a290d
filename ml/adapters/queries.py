"""SQL of people over a table in memory, with DuckDB."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import duckdb

from ml.core.errors import ConfigError
from ml.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa


def select(rows: pa.Table, sql: str, *, name: str, settings: Settings) -> pa.Table:
    """What a query over `rows`, a table called `name`, finds.

    The query sees nothing else: no file, no other table, no variable of this process.

    Raises:
        ConfigError: if it is no query, or a wrong one.
    """
    with closing(duckdb.connect()) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set python_enable_replacements = false")
        connection.execute("set enable_external_access = false")
        connection.execute(f"set memory_limit = '{settings.duckdb_memory_limit}'")
        connection.execute(f"set threads = {settings.duckdb_threads}")
        connection.register(name, rows)
        try:
            _require_one_query(connection, sql, name)
            return connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            columns = ", ".join(rows.column_names)
            raise ConfigError(
                _short(error), expected=f"a query over {name}, which has: {columns}"
            ) from error


def _require_one_query(connection: duckdb.DuckDBPyConnection, sql: str, name: str) -> None:
    kinds = [one.type for one in connection.extract_statements(sql)]
    if kinds != [duckdb.StatementType.SELECT]:
        raise ConfigError(f"not one query: {sql!r}", expected=f"select … from {name}")


def _short(error: duckdb.Error) -> str:
    """The message without the hints and the picture of the place below it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    places = [line for line in lines[1:] if line.startswith("LINE ")]
    return "; ".join([*lines[:1], *places[:1]])
