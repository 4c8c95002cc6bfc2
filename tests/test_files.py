from __future__ import annotations

import errno
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from sent_rl.errors import UserError
from sent_rl.files import atomic, claim, read_facts, read_table, write_json, write_table

SCHEMA = pa.schema({"a": pa.int64()})


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def cut_short() -> None:
        with atomic(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        cut_short()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_too(tmp_path: Path) -> None:
    for content in ("one", "two"):
        with atomic(tmp_path / "d") as partial:
            partial.mkdir()
            (partial / "f").write_text(content)
    assert (tmp_path / "d" / "f").read_text() == "two"


def test_tables_and_facts(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", [{"a": 1}], SCHEMA, {"x": [1.5]})
    assert read_table(tmp_path / "t.parquet", ["a"]) == [{"a": 1}]
    assert read_facts(tmp_path / "t.parquet") == {"x": [1.5]}
    with pytest.raises(UserError, match="no column 'b'; it has a"):
        read_table(tmp_path / "t.parquet", ["b"])
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "u.parquet")


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match="no space left on the device; free some"):
        write_json(tmp_path / "a.json", {})
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """On a file system of 256 KB, where the machine lets us make one."""
    small = tmp_path / "small"
    small.mkdir()
    mount = [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", "size=256k", "none", str(small)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small file system")
    try:
        with pytest.raises(UserError, match="no space left"):
            write_table(small / "t.parquet", [{"a": i * 7919 % 100_003} for i in range(200_000)], SCHEMA)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_json(tmp_path / "file" / "a.json", {})


def test_claims(tmp_path: Path) -> None:
    claim(tmp_path / "r", "run.yaml", {"a": {"b": 1}}, {"versions": {"x": 1}})
    claim(tmp_path / "r", "run.yaml", {"a": {"b": 1}}, {"versions": {"x": 2}})
    with pytest.raises(UserError, match=r"holds another run, whose a\.b is 1 and not 2"):
        claim(tmp_path / "r", "run.yaml", {"a": {"b": 2}}, {"versions": {}})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="not a run of this kind"):
        claim(tmp_path / "other", "run.yaml", {})
