"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from sent_rl.errors import UserError

_FACTS = b"sent_rl"
_NO_ROOM = 64 * 1024
_ROWS_AT_ONCE = 4096

Renew = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""How an identity that an earlier version wrote reads today."""


def partial_path(path: Path) -> Path:
    """Where :func:`atomic` has a file or folder written before it is renamed."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``, a file's or a folder's, and renames it to ``path`` on success.

    On any failure the temporary is removed and ``path`` stays as it was.

    Raises:
        UserError: the disk is full, or ``path`` cannot be written.
    """
    partial = partial_path(path)
    _remove(partial)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if partial.is_dir() and path.exists():
            _remove(path)
        os.replace(partial, path)
    except Exception as error:
        known = write_error(path, error)
        if known is None:
            raise
        raise known from error
    finally:
        _remove(partial)


def write_error(path: Path, error: Exception) -> UserError | None:
    """The one line for a file or folder that could not be written; None for an error of another kind.

    Libraries report a full disk by exceptions of their own, so the text counts too, and so does a disk without room.
    """
    if isinstance(error, UserError):
        return error
    folder = next(p for p in (path, *path.absolute().parents) if p.exists())
    full = os.strerror(errno.ENOSPC) in str(error) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))
    if full or shutil.disk_usage(folder).free < _NO_ROOM:
        return UserError(f"{path}: no space left on the device; free some and run the same command again")
    if isinstance(error, OSError) and error.filename is not None:
        return UserError(f"{path}: cannot be written ({error.strerror or error})")
    return None


def looks_like_path(name: str) -> bool:
    """Whether a name that is not there was meant as a path and not as an id of the Hub (owner/name).

    A path starts with ``.``, ``/`` or ``~``, or lies in a folder that exists.
    """
    return name.startswith((".", "/", "~")) or ("/" in name and Path(name).parent.is_dir())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        path.unlink()


def write_text(path: Path, text: str) -> None:
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema, facts: Mapping[str, Any] | None = None) -> None:
    """Rows as a parquet file, a few thousand in memory at a time.

    ``facts`` about them go into its metadata as JSON, after the last row: what yields the rows may
    fill them on the way.
    """
    rest = iter(rows)
    with atomic(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        while chunk := list(islice(rest, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
        writer.add_key_value_metadata({_FACTS: json.dumps(facts or {})})


def read_facts(path: Path) -> dict[str, Any]:
    """What ``write_table`` was told about a table; empty for a file of somebody else."""
    facts: dict[str, Any] = json.loads((pq.read_metadata(path).metadata or {}).get(_FACTS, b"{}"))
    return facts


def read_table(path: Path, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of a parquet file.

    Raises:
        UserError: no such file, not a parquet file, or one of ``columns`` is missing.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({error})") from error
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise UserError(f"{path}: no column {missing[0]!r}; it has {', '.join(table.column_names)}")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        UserError: it cannot be read as UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """A file of JSON lines that is appended to; none where there is no such file. A last line that was cut short does not count."""
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    whole = lines[:-1]  # what stands behind the last line break was not finished
    return [json.loads(line) for line in whole]


def check_claim(
    folder: Path, name: str, identity: Mapping[str, Any], facts: Mapping[str, Any] | None = None, renew: Renew = lambda written: written
) -> bool:
    """Whether :func:`claim` would find ``folder`` claimed already; raises as it would, and writes nothing."""
    path = folder / name
    if path.is_file():
        written = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        different = first_difference(renew({key: value for key, value in written.items() if key not in (facts or {})}), identity)
        if different:
            raise UserError(f"{folder}: holds another run, whose {different}; choose another directory or remove this one")
        return True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists and is not a run of this kind (no {name} in it); choose another directory")
    return False


def claim(
    folder: Path, name: str, identity: Mapping[str, Any], facts: Mapping[str, Any] | None = None, renew: Renew = lambda written: written
) -> None:
    """Make ``folder`` the place of one run, written down in its file ``name`` (YAML); a second claim with the same identity is welcome.

    ``facts`` are written beside the identity and not compared. ``renew`` reads what an earlier version of this package wrote.

    Raises:
        UserError: the folder holds another run, or other things.
    """
    if not check_claim(folder, name, identity, facts, renew):
        write_text(folder / name, yaml.safe_dump({**identity, **(facts or {})}, sort_keys=False, allow_unicode=True))


def first_difference(old: Any, new: Any, key: str = "") -> str | None:
    """Where two trees differ first, in words; None where they are equal."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*new, *(n for n in old if n not in new)]:
            found = first_difference(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
            if found:
                return found
        return None
    return None if old == new else f"{key} is {old!r} and not {new!r}"
