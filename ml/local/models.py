"""What the command line says about predictions and their quality."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ml.adapters.files import replacing
from ml.core.errors import ConfigError, DataError
from ml.core.names import CANARY, CHAMPION
from ml.local.tracking import with_server
from ml.render import cell_table, console
from ml.settings import Settings, settings
from ml.use_cases import load_spec

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

    from ml.core.ports import Platform
    from ml.core.spec import UseCase
    from ml.stages.report.groups import Group
    from ml.stages.report.quality import Quality

_SHOWN_ROWS, _SHOWN_DAYS = 20, 14
_TABLE = "predictions"


def show_predictions(
    slug: str,
    *,
    first: str,
    last: str,
    where: str,
    sql: str,
    limit: int | None,
    output: Path | None,
    all_revisions: bool,
) -> None:
    """`flightline predictions`: rows on the screen or in a file, and a line that sums them up."""
    query = _query(where, sql)
    _require_suffix(output)
    platform, at = _platform(slug)
    import pyarrow as pa

    from ml.adapters.queries import select
    from ml.stages.predictions import read_predictions, told

    rows = read_predictions(platform, first, last, all_revisions=all_revisions)
    table = pa.Table.from_pandas(rows, preserve_index=False)
    found = select(table, query, name=_TABLE, settings=at) if query else table
    chosen = found if limit is None and output else found.slice(0, _limit(limit))
    out = console()
    if output:
        _write(chosen, output)
        out.print(f"wrote {len(chosen):,} rows to {output}", markup=False)
        return
    shown = chosen if sql else _shown(platform.spec, chosen, all_revisions)
    out.print(cell_table(shown.column_names, [list(row.values()) for row in shown.to_pylist()]))
    if len(chosen) < len(found):
        out.print(f"… {len(found):,} in all; all of them: --output FILE.csv, or a --limit")
    if not sql:
        out.print(told(platform.spec, found.to_pandas()), markup=False)


def _limit(limit: int | None) -> int:
    return _SHOWN_ROWS if limit is None else limit


def _query(where: str, sql: str) -> str:
    if where and sql:
        raise ConfigError(
            "--where and --sql together", expected="one of them; a query has a where of its own"
        )
    return f"select * from {_TABLE} where {where}" if where else sql


def _require_suffix(output: Path | None) -> None:
    is_file = output and output.suffix in (".csv", ".parquet") and not output.is_dir()
    if output and not (is_file and output.resolve().parent.is_dir()):
        expected = "a .csv or a .parquet file in a folder that exists"
        raise ConfigError(f"cannot write {output}", expected=expected)


def _write(rows: pa.Table, output: Path) -> None:
    with replacing(output) as temporary:
        frame = rows.to_pandas()
        if output.suffix == ".csv":
            frame.to_csv(temporary, index=False)
        else:
            frame.to_parquet(temporary, index=False)


def _shown(spec: UseCase, rows: pa.Table, all_revisions: bool) -> pa.Table:
    """The columns that fit a terminal; who has served is where the answer comes from."""
    both = [f"{alias}_score" for alias in (CHAMPION, CANARY)]
    has_canary = "canary_score" in rows.column_names and rows["canary_score"].null_count < len(rows)
    models = both if has_canary else []
    label = spec.label.column
    answer = ["score", "lower", "upper", *models, "decision"]
    if spec.label.classes:
        from ml.stages.predictions import label_class

        answer, label = ["decision", "probability", *models], label_class(spec.label)
        rows = _named(rows, both, spec.label.classes)
    wanted = [spec.key, *spec.segments, *answer, label, *(["revision"] if all_revisions else [])]
    found = rows.select([name for name in wanted if name in rows.column_names])
    return found.rename_columns([name.removesuffix("_score") for name in found.column_names])


def _named(rows: pa.Table, columns: Sequence[str], classes: Sequence[str]) -> pa.Table:
    """Indices of classes by their names."""
    import pyarrow as pa

    for place, name in enumerate(rows.column_names):
        if name in columns:
            values = rows[name].to_pylist()
            # An empty value of a table from pandas is NaN, which is not equal to itself.
            names = [classes[int(v)] if v is not None and v == v else None for v in values]
            rows = rows.set_column(place, name, pa.array(names, pa.string()))
    return rows


def show_report(slug: str, *, first: str, last: str, output: Path | None, as_json: bool) -> None:
    """`flightline report`: the page, and its figures in the terminal."""
    platform, at = _platform(slug)
    from ml.stages import report

    path = output or at.home / "reports" / f"{slug}.html"
    quality = report.run(platform, first=first, last=last, output=path)
    if as_json:
        text = json.dumps(asdict(quality) | {"page": str(path)}, default=str)
        print(json.dumps(json.loads(text, parse_constant=lambda _: None), indent=2))
        return
    _tell(quality)
    console().print(f"page: {path}", markup=False)


def _tell(quality: Quality) -> None:
    from ml.stages.report import words

    out, found = console(), quality.coverage
    out.print(f"[bold]{quality.slug}[/]  {found.first} to {found.last}\n")
    for sentence in words.sentences(quality):
        out.print(sentence, markup=False)
    for comparison in filter(None, (quality.everything, quality.beside)):
        out.print("")
        out.print(cell_table(words.metric_columns(comparison), words.metric_rows(comparison)))
    if quality.classes:
        out.print("\nby class, of what was served")
        out.print(cell_table(words.CLASS_COLUMNS, words.class_rows(quality)))
    loss = words.plain(quality.loss_name)
    if quality.segments:
        out.print(
            f"\nby segment: mean {loss}; the champion's skill over the rule; canary - champion"
        )
        out.print(_groups(quality, quality.segments, lambda group: f"{group.column} {group.value}"))
    out.print(f"\nby {quality.unit}: mean {loss}")
    if len(quality.days) > _SHOWN_DAYS:
        out.print(f"the last {_SHOWN_DAYS} of {len(quality.days)} {quality.unit}s")
    out.print(_groups(quality, quality.days[-_SHOWN_DAYS:], lambda group: group.value))


def _groups(quality: Quality, groups: Sequence[Group], name: Callable[[Group], str]) -> Table:
    from ml.stages.report import words

    has_skill = any(group.skill for group in groups)
    has_difference = any(group.difference for group in groups)
    rows = [
        [
            name(group),
            *cells,
            *([f"{group.skill.value:.3f}" if group.skill else ""] if has_skill else []),
            *([words.compared(group.difference)] if has_difference else []),
        ]
        for group, cells in zip(groups, words.group_rows(quality, groups), strict=True)
    ]
    more = [*(["skill"] if has_skill else []), *(["difference"] if has_difference else [])]
    return cell_table(["", *words.group_columns(quality, groups), *more], rows)


def _platform(slug: str) -> tuple[Platform, Settings]:
    """The platform to look at; MLflow would make its store just to be asked."""
    spec, at = load_spec(slug), with_server(settings())
    if not (at.tracking_uri or at.mlflow_database.exists()):
        raise DataError(
            f"nothing of {slug} was ever trained here",
            expected="a model that was released, and partitions that it has scored",
            repair=f"run: flightline run {slug} --first {spec.coverage.first} --last KEY",
        )
    from ml.adapters.connect import connect

    return connect(slug, at), at
