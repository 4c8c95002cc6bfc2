from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from benchmark_files import write_benchmarks
from typer.testing import CliRunner

from sent_rl.answers import extract, verdict
from sent_rl.cli import app
from sent_rl.config import load_config
from sent_rl.errors import UserError
from sent_rl.evaluation.benchmarks import BENCHMARKS, PAPER_BENCHMARKS, load_benchmark
from sent_rl.evaluation.paper import paper_arm, paper_results
from sent_rl.pipeline import evaluate_benchmarks
from sent_rl.problems import Problem
from sent_rl.report.benchmarks import latex

REAL = Path(os.environ.get("SENT_RL_BENCHMARKS", Path(__file__).parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not REAL.is_dir(), reason="the benchmarks are not part of the repository; SENT_RL_BENCHMARKS names a folder"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmarks(tmp_path_factory.mktemp("benchmarks"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_loads_from_a_folder(name: str, data: Path) -> None:
    problems = load_benchmark(name, data)
    assert len(problems) == BENCHMARKS[name].counts[0]
    assert [p.id for p in problems[:2]] == [f"{name}-1", f"{name}-2"]
    assert all(p.prompt and p.answer for p in problems)


def test_columns_mean_what_the_declaration_says(data: Path) -> None:
    assert load_benchmark("aime24", data)[7].answer == "7"
    assert load_benchmark("amc23", data)[27].answer == "27"
    assert load_benchmark("gsm8k", data)[1234].answer == "1,234"
    olympiad = load_benchmark("olympiadbench", data)
    assert olympiad[1].prompt == "Let a hold.\nProve 1."
    assert (olympiad[3].tolerance, olympiad[4].tolerance) == (0.1, None)
    assert verdict(olympiad[3].golds, "3.09", olympiad[3].tolerance) == "same"
    assert verdict(olympiad[7].golds, "-8, 7") == "same"


def test_minerva_takes_the_answer_of_the_solution_and_groups_what_shares_a_text(data: Path) -> None:
    second = load_benchmark("minerva", data)[1]
    assert second.answer == r"2 \times 10^{1}"  # not the listed one, which is that of the first
    groups = [p.metadata["group"] for p in load_benchmark("minerva", data)[:4]]
    assert groups[0] == groups[1] != groups[2] == groups[3]


def test_a_set_of_the_wrong_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="AIME25 has 30 problems, this has 29"):
        load_benchmark("aime25", write_benchmarks(tmp_path, short=["aime25"]))


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("aime2024", [], "did you mean 'aime24'"),
        ("aime24", None, "no AIME24 in it"),
        ("aime24", [{"question": "Q"}] * 30, "row 1 has no question or answer that is known; it has question"),
    ],
)
def test_what_cannot_be_loaded_is_said(name: str, rows: list[Any] | None, message: str, tmp_path: Path) -> None:
    if rows is not None:
        (tmp_path / "aime24.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=message):
        load_benchmark(name, tmp_path)


def recorded(path: Path, data: Path, names: list[str], n: int, right: dict[str, int]) -> Path:
    """``right[model]`` of the ``n`` responses of each model to each problem are right, one is unreadable, the rest wrong."""
    rows = []
    for problem in (p for name in names for p in load_benchmark(name, data)):
        for model, good in right.items():
            texts = [f"so \\boxed{{{problem.answer}}}"] * good + ["no idea"] + ["\\boxed{-12345}"] * (n - good - 1)
            rows += [{"model": model, "problem": problem.id, "text": text, "tokens": 7} for text in texts]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_recorded_responses_give_the_table_of_the_six(data: Path, tmp_path: Path) -> None:
    responses = recorded(tmp_path / "r.jsonl", data, list(PAPER_BENCHMARKS), 4, {"weak": 1, "strong": 2})
    out = tmp_path / "out"
    command = ["evaluate", "--benchmarks", "paper", "--data", str(data), "--responses", str(responses), "--n", "4", "--k", "2,4"]
    done = CliRunner().invoke(app, [*command, "--paper", "sent", "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads((out / "results.json").read_text())
    assert list(found["benchmarks"]) == list(PAPER_BENCHMARKS)
    for results in found["benchmarks"].values():
        assert results["models"]["weak"]["avg@4"]["value"] == 0.25
        assert results["models"]["strong"]["avg@4"]["value"] == 0.5
        assert results["models"]["weak"]["pass@2"]["value"] == pytest.approx(0.5)  # 1 - C(3, 2) / C(4, 2)
        assert results["rates"]["weak"] == {"mean_tokens": 7.0, "truncated": 0.0, "unparsed": 0.25, "no_verdict": 0.0}
    assert found["differences"]["strong - weak"]["avg@4"] == {"value": 0.25, "stderr": 0.0}
    table = (out / "table.md").read_text()
    assert "| AIME24 | 30 | 4 | avg@4 | 25.0 +- 0.0 | 50.0 +- 0.0 | +25.0 +- 0.0 |" in table
    assert "paper: sent" in table
    assert "OlympiadBench" in done.output
    assert "\\toprule" in (out / "table.tex").read_text()
    assert pq.read_table(out / "minerva" / "samples.parquet").num_rows == 272 * 2 * 4


def test_too_few_recorded_responses_are_named(data: Path, tmp_path: Path) -> None:
    responses = recorded(tmp_path / "r.jsonl", data, ["aime24"], 2, {"m": 1})
    config = load_config(None, [], {"evaluate.samples": 4, "evaluate.k": [4]})
    with pytest.raises(UserError, match="2 responses to aime24-1, 4 are asked for"):
        evaluate_benchmarks(config, {}, ["aime24"], tmp_path / "out", data=data, responses=responses)
    assert not (tmp_path / "out").exists()


def test_a_live_model_is_cut_and_goes_on_to_the_same_numbers(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sent_rl.rollouts.transformers import TransformersEngine

    monkeypatch.setattr("sent_rl.rollouts.engines.check_spelling", lambda *_: None)  # the embedded model knows no words
    settings = ["evaluate.samples=2", "evaluate.k=[1,2]", "evaluate.sampling.max_tokens=8", "evaluate.sampling.batch_size=16"]
    config = load_config(None, settings)
    evaluate_benchmarks(config, {"embedded": None}, ["aime24", "aime25"], tmp_path / "whole", data=data)
    drawn, sample = 0, TransformersEngine.sample

    def cut(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal drawn
        drawn += 1
        if drawn == 6:
            raise KeyboardInterrupt
        return sample(self, *args, **kwargs)

    monkeypatch.setattr(TransformersEngine, "sample", cut)
    with pytest.raises(KeyboardInterrupt):
        evaluate_benchmarks(config, {"embedded": None}, ["aime24", "aime25"], tmp_path / "cut", data=data)
    evaluate_benchmarks(config, {"embedded": None}, ["aime24", "aime25"], tmp_path / "cut", data=data)
    assert drawn == 2 * 4 + 1  # parts that were there were not drawn again
    for file in ("results.json", "table.md", "aime24/results.json"):
        assert (tmp_path / "cut" / file).read_text() == (tmp_path / "whole" / file).read_text()


def test_a_recipes_own_template_is_used_instead_of_the_papers(data: Path) -> None:
    from sent_rl.pipeline import _benchmark_sets

    asked = _benchmark_sets(load_config(None), ["aime24"], data, Path("x"))[0].prompts[0]
    assert isinstance(asked, str)
    assert asked.endswith("within \\boxed{}.")
    own = _benchmark_sets(load_config(None, ["prompting.template='Q: {question} A:'"]), ["aime24"], data, Path("x"))[0].prompts[0]
    assert own == "Q: Find 0. A:"


def test_the_papers_tables_ship() -> None:
    assert len(paper_results()) == 9
    assert paper_arm("sent")[("AIME24", "pass@32")] == 76.67
    assert paper_arm("grpo")[("Minerva", "avg@8")] == 17.65
    assert all(len(cells) == 38 for cells in paper_results().values())
    with pytest.raises(UserError, match="did you mean 'grpo'"):
        paper_arm("grop")


def test_latex_is_escaped() -> None:
    assert "a\\_b & 50\\% & 1.0 $\\pm$ 0.1 \\\\" in latex([["x", "y", "z"], ["a_b", "50%", "1.0 +- 0.1"]], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "o"], "give either models to sample"),
        (["embedded", "--out", "o", "--data", "d"], "go with --benchmarks"),
        (["embedded", "--out", "o", "--benchmarks", "aime24", "--problems", "arithmetic"], "not both"),
        (["embedded", "--out", "o", "--benchmarks", "aime24", "--data", "nowhere"], "no such folder"),
        (["--out", "o", "--benchmarks", "aime24", "--responses", "nowhere.jsonl", "--data", "."], "no AIME24 in it"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["evaluate", *arguments])
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)


@needs_data
@pytest.mark.parametrize("name", ["math500", "gsm8k", "minerva"])
def test_reference_solutions_state_the_gold_answer(name: str) -> None:
    problems = load_benchmark(name, REAL)

    def agrees(problem: Problem) -> bool:
        return verdict(problem.golds, extract(problem.metadata["solution"]), problem.tolerance) == "same"

    assert sum(map(agrees, problems)) >= 0.99 * len(problems)


@needs_data
@pytest.mark.parametrize("name", ["math500", "olympiadbench", "minerva"])
def test_answers_to_different_questions_are_different(name: str) -> None:
    golds = [p.answer for p in load_benchmark(name, REAL)]
    pairs = [(a, b) for a, b in zip(golds, golds[1:] + golds[:1], strict=True) if a.split() != b.split()]
    assert sum(verdict(a, b) == "same" for a, b in pairs) <= 0.001 * len(pairs) + 1
