from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from benchmark_files import write_benchmarks
from test_benchmarks import REAL, needs_data
from typer.testing import CliRunner

from sent_rl.cli import app
from sent_rl.errors import UserError
from sent_rl.evaluation.benchmarks import load_benchmark
from sent_rl.evaluation.overlap import cleaned, find_duplicates, find_overlaps, report, without_template, words
from sent_rl.problems import Problem, write_problems
from sent_rl.problems.sources import File

STORY = (
    "A farmer has seven fields, and in each of them stand five cows which all eat nine bales of hay a day while the rain falls "
    "on the roof of the barn and the mill turns"
)
TEMPLATE = "Solve the following problem step by step, and write the answer on a line of its own.\n\n"


def problem(id: str, prompt: str, answer: str = "1") -> Problem:
    return Problem(id, prompt, answer)


def test_words_ignore_layout_but_not_operators() -> None:
    assert words(r"If $x+1 = \frac{2}{3}$, find x.") == words(r"If \(x + 1=\dfrac{2}{3}\) find  X")
    assert words("3+4") != words("3-4")
    assert words("求值 x") == ["求", "值", "x"]


@pytest.mark.parametrize(
    ("prompt", "match"),
    [
        (STORY + ".", "full"),
        (STORY.upper() + " !", "full"),
        (STORY + " on Mondays. How many bales is that a week?", "prefix"),
        ("Once more, with feeling: " + " ".join(STORY.split()[3:]), "ngram"),
        ("A farmer has seven fields.", None),
        ("What is 3 + 4?", None),
    ],
)
def test_every_kind_of_match(prompt: str, match: str | None) -> None:
    found = find_overlaps([problem("t", prompt)], {"b": [problem("q", STORY), problem("other", "What is 3 - 4?")]})
    assert [(o.problem, o.match) for o in found] == ([("q", match)] if match else [])


def test_the_answer_is_compared_too() -> None:
    found = find_overlaps([problem("a", STORY, "0.5"), problem("b", STORY, "7")], {"b": [problem("q", STORY, r"\frac12")]})
    assert [o.same_answer for o in found] == [True, False]


def test_a_common_template_is_no_overlap() -> None:
    prompts = [TEMPLATE + text + "\n\nRemember to write it on a line of its own!" for text in ("one", "two", "three")]
    assert without_template(prompts) == ["one", "two", "three"]
    assert without_template(["short", "texts"]) == ["short", "texts"]
    train = [problem(str(i), TEMPLATE + text) for i, text in enumerate((STORY, "What is it?", "How is it?"))]
    assert [o.match for o in find_overlaps(train, {"b": [problem("q", STORY)]})] == ["full"]


def test_a_training_set_of_one_problem_over_and_over_is_no_template() -> None:
    found = find_overlaps([problem(str(i), STORY) for i in range(128)], {"b": [problem("q", STORY)]})
    assert [o.match for o in found] == ["full"] * 128


def test_duplicates_conflicts_and_what_is_left() -> None:
    train = [
        problem("a", "What is 1/2?", "0.5"),
        problem("b", "what is 1/2", r"\frac12"),
        problem("c", STORY, "1"),
        problem("d", STORY, "2"),
    ]
    train += [problem("e", "Unique?"), problem("f", "Benchmark?")]
    groups, conflicts = find_duplicates(train)
    assert groups == [["a", "b"], ["c", "d"]]
    assert conflicts == [{"ids": ["c", "d"], "answers": ["1", "2"]}]
    found = report(train, {"b": [problem("q", "Benchmark?")]})
    assert found["benchmarks"] == {"b": {"problems": 1, "full": 1, "prefix": 0, "ngram": 0}}
    assert [p.id for p in cleaned(train, found)] == ["a", "e"]


def test_the_command_writes_the_report_and_the_clean_set_in_verls_schema(tmp_path: Path) -> None:
    data = write_benchmarks(tmp_path / "data")
    train = [{"prompt": "Find 7.", "answer": "7"}, {"prompt": "Find 700.", "answer": "700"}, {"prompt": "find 700", "answer": "700"}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, train)))
    command = ["check-overlap", str(tmp_path / "train.jsonl"), "--data", str(data), "--benchmarks", "aime24,aime25"]
    command += ["--out", str(tmp_path / "o.json"), "--clean", str(tmp_path / "clean.parquet"), "--schema", "verl"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads((tmp_path / "o.json").read_text())
    assert [(o["problem"], o["train"]) for o in found["overlaps"]] == [("aime24-8", "train-1")]
    (row,) = pq.read_table(tmp_path / "clean.parquet").to_pylist()
    assert row["prompt"] == [{"role": "user", "content": "Find 700."}]
    assert row["reward_model"] == {"style": "rule", "ground_truth": "700"}
    (back,) = File(path=str(tmp_path / "clean.parquet")).load()
    assert (back.prompt, back.answer) == ("Find 700.", "700")


@pytest.mark.parametrize(("schema", "suffix"), [("plain", "jsonl"), ("plain", "parquet"), ("verl", "jsonl"), ("verl", "parquet")])
def test_what_is_written_is_read_again(schema: Any, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"p.{suffix}"
    write_problems([Problem("a", "Q ∑?", "1", "s", {"accept": ["2"], "tolerance": 0.5})], path, schema, "Say: {question}")
    (back,) = File(path=str(path)).load()
    assert (back.id, back.golds, back.tolerance) == ("a", ("1", "2"), 0.5)
    assert (back.prompt, back.answer) == (("Say: Q ∑?" if schema == "verl" else "Q ∑?"), "1")


def test_other_files_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="jsonl or"):
        write_problems([], tmp_path / "x.csv")


@needs_data
def test_dapo_holds_at_least_the_known_overlaps() -> None:
    folder = REAL / "dapo_math_17k"
    names = {"amc23": "amc23", "amc12_2022_2023_83": "amc12-83", "math500": "math500", "olympiadbench": "olympiadbench"}
    known = json.loads((folder / "overlap_and_duplicates.json").read_text())
    benchmarks = {name: load_benchmark(name, REAL) for name in names.values()}
    train = File(path=str(folder / "svs_dapo_math_17k.parquet")).load()
    place = {p.id: row for row, p in enumerate(train)}
    found = {(o.benchmark, place[o.train]) for o in find_overlaps(train, benchmarks)}
    assert len(known["overlaps"]) > 100
    assert {(names[o["benchmark"]], o["dapo_row"]) for o in known["overlaps"]} <= found
    conflicts = [[place[i] for i in group["ids"]] for group in find_duplicates(train)[1]]
    assert {tuple(sorted(group)) for group in known["conflicting_answers_exact"]} <= {pair for rows in conflicts for pair in _pairs(rows)}


def _pairs(rows: list[int]) -> set[tuple[int, ...]]:
    return {(a, b) for a in rows for b in rows if a < b}
