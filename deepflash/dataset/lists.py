"""Lists of pairs: a CSV or Parquet file with a row for each."""

import csv
import importlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from deepflash.accounts import SetAside
from deepflash.dataset.sources import Candidate, Found, printable
from deepflash.errors import DatasetError

NEEDED = ("flash", "studio", "subject")
OPTIONAL = ("session", "take", "pose", "consent")
SUFFIXES = (".csv", ".tsv", ".parquet")

_Row = dict[str, str]


def read_list(path: Path, root: Path | None = None) -> Found:
    """Return the pairs of a list.

    Parameters
    ----------
    path
        A `.csv` or `.tsv` file (UTF-8, with a line of column names, parted by comma, semicolon or tab) or a `.parquet` file.
        The columns `flash`, `studio` and `subject` must be there, `session`, `take`, `pose` and `consent` may; others are
        passed over.
    root
        The folder to which the photographs' paths are relative, by default the list's own. A path that leaves it is
        refused: a list may come from anywhere.

    Raises
    ------
    DatasetError
        if the list is missing or damaged, lacks a column or has it twice, holds no rows, or is a Parquet file and pyarrow is
        not installed.
    """
    if not path.is_file():
        raise DatasetError(f"{printable(path)} is not a file; give a list of pairs, a .csv, .tsv or .parquet file")
    rows = _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path)
    base = (root or path.parent).absolute()
    candidates = []
    set_aside = []
    for name, row in rows:
        reason = row if isinstance(row, str) else _reason_against(row)
        if reason:
            set_aside.append(SetAside(f"{path.name}, {name}", reason))
        elif isinstance(row, dict):
            words = {column: row.get(column, "") for column in ("subject", *OPTIONAL)}
            candidates.append(Candidate(f"{path.name}, {name}", base / row["flash"], base / row["studio"], **words))
    if not candidates and not set_aside:
        raise DatasetError(f"{printable(path)} holds no rows; give a list with a row for each pair")
    return Found("list", path.resolve(), candidates, set_aside)


def _reason_against(row: _Row) -> str:
    for column in NEEDED:
        if not row[column]:
            return f"its {column} is empty; fill it in"
    for column in ("flash", "studio"):
        value = row[column]
        if "\0" in value or _leaves(value):
            return (
                f"its {column} photograph {printable(value)!r} lies outside the list's folder; write the path relative to it,"
                " without '..', or give the folder that holds all photographs as --root"
            )
    return ""


def _leaves(value: str) -> bool:
    path = PurePosixPath(value)
    return path.is_absolute() or ".." in path.parts or bool(PureWindowsPath(value).drive)


def _csv_rows(path: Path) -> Iterator[tuple[str, _Row | str]]:
    """Yield every row with its place, or the reason why it is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{printable(path)} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    try:
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if not columns:
                columns = [field.strip().lower() for field in fields]
                _check_columns(path, columns)
            elif len(fields) != len(columns):
                yield f"line {reader.line_num}", f"it has {len(fields)} fields and the first line {len(columns)}; mend the line"
            else:
                yield f"line {reader.line_num}", {column: field.strip() for column, field in zip(columns, fields, strict=True)}
    except csv.Error as error:
        raise DatasetError(f"{printable(path)} is damaged at line {reader.line_num} ({error}); save it again") from error
    _check_columns(path, columns)


def _parquet_rows(path: Path) -> Iterator[tuple[str, _Row | str]]:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise DatasetError(
            f"{printable(path)} is a Parquet file, which needs pyarrow; run pip install 'deepflash[parquet]',"
            " or save the list as .csv"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check_columns(path, [name.strip().lower() for name in names])
            wanted = [name for name in names if name.strip().lower() in {*NEEDED, *OPTIONAL}]
            number = 0
            for batch in file.iter_batches(columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", {name.strip().lower(): _text(value) for name, value in row.items()}
    except (arrow.ArrowException, OSError) as error:
        raise DatasetError(f"{printable(path)} is not a readable Parquet file ({error}); write it again") from error


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    known = [column for column in columns if column in {*NEEDED, *OPTIONAL}]
    missing = [column for column in NEEDED if column not in known]
    if missing:
        raise DatasetError(
            f"{printable(path)} has no column {' and none '.join(missing)}; its first line must name flash, studio, subject,"
            f" and may name {', '.join(OPTIONAL)}"
        )
    twice = sorted({column for column in known if known.count(column) > 1})
    if twice:
        raise DatasetError(f"{printable(path)} has the column {twice[0]} twice; keep one of them")
