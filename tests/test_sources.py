from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from sent_rl.answers import equivalent
from sent_rl.errors import UserError
from sent_rl.problems import Problem, Prompting, Source, arithmetic_problems, problems_from_rows, write_problems


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


ALTERNATIVES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"answer": ["6", "1"]}, ("6", "1")),
    ({"answer": [6, 0.5, "six", "6"]}, ("6", "0.5", "six")),
    ({"answer": 6.0}, ("6",)),
    ({"answer": ["#### 6", "so it is\n#### 7"]}, ("6", "7")),
    ({"answer": "6", "accept": "61"}, ("6", "61")),
    ({"answer": ["6", "1"], "accept": ["1", "2"]}, ("6", "1", "2")),
    ({"reward_model": {"ground_truth": ["6", "1"]}, "extra_info": {"accept": ["2"]}}, ("6", "1", "2")),
    ({"answer": "['6', '1']"}, ("['6', '1']",)),
]


@pytest.mark.parametrize(("row", "golds"), ALTERNATIVES)
def test_a_list_of_answers_means_alternatives(tmp_path: Path, row: dict[str, Any], golds: tuple[str, ...]) -> None:
    """The same from JSON lines, from parquet, and from rows as the Hub gives them."""
    rows = [{"prompt": "?", **row}]
    found = load(write_lines(tmp_path / "a.jsonl", *rows)) + problems_from_rows(rows, "hub/set")
    if not isinstance(row.get("answer"), list) or len({type(each) for each in row["answer"]}) == 1:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
        found += load(str(tmp_path / "a.parquet"))
    assert {problem.golds for problem in found} == {golds}
    assert all(equivalent(problem.golds, gold) for problem in found for gold in golds)


def test_alternatives_survive_every_kind_of_file(tmp_path: Path) -> None:
    problems = problems_from_rows([{"prompt": "?", "answer": ["6", "1"], "id": "a"}], "set")
    for schema in ("plain", "verl"):
        for suffix in ("jsonl", "parquet"):
            path = tmp_path / f"{schema}.{suffix}"
            write_problems(problems, path, "verl" if schema == "verl" else "plain")
            assert [p.golds for p in load(str(path))] == [("6", "1")]


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeffprompt,answer,note\r\n"1+1, and\r\nno more?\u2028",2,\r\n2+2?,4,easy\r\n', encoding="utf-8")
    found = load(str(path))
    assert [(p.id, p.answer) for p in found] == [("a-1", "2"), ("a-2", "4")]
    assert found[0].prompt.split() == ["1+1,", "and", "no", "more?"]
    assert found[1].metadata == {"note": "easy"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,answer\n1+1?,2\n1,000+1?,1001\n", "line 3 has 3 fields, and line 1 names 2 columns; put a field"),
        ("prompt,prompt\n1,2\n", "line 1 names a column twice"),
        ('prompt,answer\n"1+1?,2\n', "line 2 is not CSV"),
        ("", "no problems in it"),
        ("question,answer\n1+1?,2\n", "--set problems.train.prompt=question"),
    ],
)
def test_bad_csv_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load(str(tmp_path / "a.csv"))


def test_files_that_are_not_read_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("prompt\tanswer\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.tsv: \.tsv is not read; convert the file to one of \.jsonl"):
        load(str(tmp_path / "a.tsv"))
    (tmp_path / "a.data").write_text("prompt answer\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"line 1 is not JSON .*; \.jsonl, .* files are read"):
        load(str(tmp_path / "a.data"))
    with pytest.raises(UserError, match="is a folder; name one file in it"):
        load(str(tmp_path))


@pytest.mark.parametrize("name", ["./trian", "../nowhere/trian", "/nowhere/trian", "~/nowhere-trian", "data/trian", "trian.csv", "a/b.tsv"])
def test_a_misspelled_path_is_no_such_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="no such file"):
        load(name)


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
        (
            [{"question": "a", "answer": "1"}],
            {},
            "row 1 has no column 'prompt'; its columns: question, answer; --set problems.train.prompt=question",
        ),
        ([{"q": "a", "answr": "1"}], {"prompt": "q"}, "its columns: q, answr; --set problems.train.answer=answr"),
        ([{"prompt": "a", "x": "1"}], {}, "its columns: prompt, x; --set problems.train.answer=COLUMN"),
        ([{"prompt": "a", "answer": math.nan}], {}, "row 1 has nothing in column 'answer'"),
        ([{"prompt": "a", "answer": []}], {}, "row 1 has an empty list in column 'answer'"),
        (
            [{"prompt": "a", "answer": ["1"]}, {"prompt": "b", "answer": ["1", None]}],
            {},
            "row 2: column 'answer': an answer is text or a number, not None",
        ),
        ([{"prompt": "a", "answer": [["1"], "2"]}], {}, r"row 1: column 'answer': an answer is text or a number, not \['1'\]"),
        ([{"prompt": "a", "answer": [" "]}], {}, "row 1: column 'answer': an answer is text or a number, not ' '"),
        ([{"prompt": "a", "answer": math.inf}], {}, "row 1: column 'answer': an answer is text or a number, not inf"),
        (
            [{"prompt": "a", "answer": {"value": 1}}],
            {},
            "holds an object, not an answer; name a field of it, e.g. --set problems.train.answer=answer.value",
        ),
        ([{"prompt": "a", "answer": "1", "accept": [{}]}], {}, "row 1: column 'accept': an answer is text or a number"),
        (
            [{"prompt": "a", "answer": "1", "tolerance": "abc"}],
            {},
            "row 1: column 'tolerance': a tolerance is a number, 0 or more, not 'abc'",
        ),
        ([{"prompt": [{"role": "user"}], "answer": "1"}], {}, "a prompt is text or one user message"),
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


def test_the_setting_that_mends_a_column_is_that_of_the_set(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"problem": "?", "answer": "1"})
    source: Any = TypeAdapter(Source).validate_python(path)
    with pytest.raises(UserError, match=r"--set problems\.test\.prompt=problem$"):
        source.load("problems.test")


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
