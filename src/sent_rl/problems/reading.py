"""A file of rows, of any kind that is read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from sent_rl.errors import UserError
from sent_rl.files import read_table, read_text

KINDS = (".jsonl", ".json", ".parquet", ".csv")
"""Suffixes of the files that are read."""
OTHER_KINDS = (".tsv", ".txt", ".xlsx", ".xls", ".arrow", ".feather", ".gz", ".zip", ".zst", ".pkl")
"""Suffixes that surely name a file, of a kind that is not read."""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl, .json, .parquet or .csv file; a file of another name is read as JSON lines.

    Raises:
        UserError: no such file, another kind of file, or a row that is not an object.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name one file in it")
    kind = path.suffix.lower()
    if kind in OTHER_KINDS:
        raise UserError(f"{path}: {kind} is not read; convert the file to one of {', '.join(KINDS)}")
    if kind == ".parquet":
        return read_table(path)
    if kind == ".csv":
        return _csv_rows(path)
    rows = _json_rows(path)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f"{path}: row {number} is not an object with named fields")
    return rows


def _json_rows(path: Path) -> list[Any]:
    text = read_text(path)
    if path.suffix == ".json" and text.lstrip().startswith("["):
        try:
            rows: list[Any] = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: not JSON ({error})") from error
        return rows
    lines = enumerate(text.split("\n"), 1)
    return [_json_line(path, number, line) for number, line in lines if line.strip()]


def _json_line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        known = "" if path.suffix in KINDS else f"; {', '.join(KINDS)} files are read"
        raise UserError(f"{path}: line {number} is not JSON ({error.msg}){known}") from error


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    """Rows below a line of column names; every value is text."""
    reader = csv.reader(io.StringIO(read_text(path).removeprefix("\ufeff")), strict=True)
    try:
        names = next(reader, [])
        if len(set(names)) != len(names):
            raise UserError(f"{path}: line 1 names a column twice: {', '.join(names)}")
        return [_csv_row(path, reader.line_num, names, row) for row in reader if row]
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num} is not CSV ({error})") from error


def _csv_row(path: Path, line: int, names: list[str], row: list[str]) -> dict[str, Any]:
    if len(row) != len(names):
        raise UserError(
            f"{path}: line {line} has {len(row)} fields, and line 1 names {len(names)} columns;"
            " put a field that holds a comma in double quotes"
        )
    return dict(zip(names, row, strict=True))
