from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from sent_rl.errors import UserError
from sent_rl.problems import Problem, Prompting, Source, arithmetic_problems


def load(value: Any) -> list[Problem]:
    source: Any = TypeAdapter(Source).validate_python(value)
    problems: list[Problem] = source.load()
    return problems


def write_lines(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_jsonl_with_columns_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"q": "1+1?", "gold": {"value": 2}, "uid": "x", "level": 3})
    found = load({"path": path, "prompt": "q", "answer": "gold.value", "id": "uid"})
    assert found == [Problem("x", "1+1?", "2", path, {"gold": {"value": 2}, "level": 3})]


def test_json_list_and_short_form(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"prompt": "a", "answer": "1"}, {"prompt": "b", "answer": "2"}]), encoding="utf-8")
    assert [p.id for p in load(str(path))] == ["a-1", "a-2"]
    assert len(load({"path": str(path), "count": 1})) == 1


def test_verl_rows(tmp_path: Path) -> None:
    rows = [
        {"data_source": "math", "prompt": [{"role": "user", "content": "2*3?"}], "reward_model": {"style": "rule", "ground_truth": "6"}}
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (problem,) = load(str(tmp_path / "a.parquet"))
    assert (problem.prompt, problem.answer) == ("2*3?", "6")


def test_gsm8k_solutions(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"question": "?", "answer": "so 2 + 2 = <<2+2=4>>4\n#### 4"})
    assert load({"path": path, "prompt": "question"})[0].answer == "4"


def test_gsm8k_copy(shared_data: Path) -> None:
    found = load({"path": str(shared_data / "gsm8k" / "openai_test.jsonl"), "prompt": "question"})
    assert len(found) == 1319
    assert found[0].answer == "18"


def test_dapo_copy(shared_data: Path) -> None:
    found = load(str(shared_data / "dapo_math_17k" / "svs_dapo_math_17k.parquet"))
    assert len(found) == 17917


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ([{"question": "a", "answer": "1"}], {}, "row 1 has no column 'prompt'; it has question, answer"),
        ([{"prompt": "a"}], {}, "no column 'answer'"),
        ([], {}, "no problems in it"),
        ([{"prompt": "a", "answer": "1", "id": 7}, {"prompt": "b", "answer": "1", "id": 7}], {}, "row 2 has the id '7' of row 1"),
        ([{"prompt": "a", "answer": None}], {}, "row 1 has nothing in column 'answer'"),
        ([{"prompt": ["a"], "answer": "1"}], {}, "a prompt is text or one user message"),
        ([["a", "1"]], {}, "row 1 is not an object"),
        ([{"prompt": "a", "answer": "1"}], {"id": "uid"}, "no column 'uid'"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: list[Any], changes: dict[str, Any], message: str) -> None:
    path = write_lines(tmp_path / "a.jsonl", *rows)
    with pytest.raises(UserError, match=message) as caught:
        load({"path": path, **changes})
    assert path in str(caught.value)


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load(str(tmp_path / "none.jsonl"))
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "answer": "1"}\nnot json\n', encoding="utf-8")
    with pytest.raises(UserError, match="line 2 is not JSON"):
        load(str(tmp_path / "a.jsonl"))
    (tmp_path / "a.json").write_text("[1,", encoding="utf-8")
    with pytest.raises(UserError, match="not JSON"):
        load(str(tmp_path / "a.json"))
    (tmp_path / "a.parquet").write_bytes(b"nope")
    with pytest.raises(UserError, match="not a readable parquet file"):
        load(str(tmp_path / "a.parquet"))
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        load(str(tmp_path / "b.jsonl"))


def test_hub_is_asked_for_ids_and_says_so_when_it_fails() -> None:
    with pytest.raises(UserError, match="neither a file nor a data set"):
        load("nobody/nothing")


def test_prompting() -> None:
    problem = arithmetic_problems([1], 1)[0]
    assert Prompting().render(problem) == f"{problem.prompt}\n"
    assert Prompting(template="Q: {question}A:").render(problem) == f"Q: {problem.prompt}A:"
    assert Prompting(chat=True).render(problem) == [{"role": "user", "content": problem.prompt}]
    with pytest.raises(ValueError, match="exactly once"):
        Prompting(template="none")


def test_gym_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "reasoning_gym", None)
    with pytest.raises(UserError, match=r"sent-rl\[gym\]"):
        load("gym:chain_sum")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("reasoning_gym") is None, reason="needs the extra gym")
def test_gym() -> None:
    train, test = load({"family": "chain_sum", "count": 20}), load({"family": "chain_sum", "start": 20, "count": 20})
    assert len({p.prompt for p in train + test}) == 40
    assert train[0].answer.lstrip("-").isdigit()
    with pytest.raises(UserError, match="reasoning-gym cannot make"):
        load("gym:chain_sums")
