"""What is printed of results, and the page of every kind of folder that a command leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_files import write_benchmarks

from sent_rl.config import load_config
from sent_rl.errors import UserError
from sent_rl.files import write_json, write_text
from sent_rl.pipeline import evaluate, evaluate_benchmarks
from sent_rl.report import results_lines, write_report
from sent_rl.report import write_benchmarks as write_tables

SMALL = ["evaluate.samples=2", "evaluate.sampling.max_tokens=8", "problems.test.count=4"]


def results(*models: str) -> dict[str, Any]:
    metrics = {metric: {"value": 0.5, "stderr": 0.01} for metric in ("avg@1", "avg@32", "pass@1", "pass@32")}
    differences = {f"{model} - {models[0]}": metrics for model in models[1:]}
    return {"models": dict.fromkeys(models, metrics), "differences": differences, "problems": 6, "n": 32}


LONG = [f"runs/a-name-that-says-which-run/{name}/training/final" for name in ("grpo", "sent")]


@pytest.mark.parametrize("models", [["base", "trained"], ["one", "two", "three", "four"], LONG, [*LONG, "embedded"]], ids=len)
def test_columns_are_apart_and_fit_the_terminal(models: list[str]) -> None:
    lines = results_lines(results(*models))
    assert max(map(len, lines)) <= 80
    cells = sum(len(re.findall(r"(?:^|  )\+?0\.500 \+- 0\.020(?=  |$)", line)) for line in lines)
    assert cells == 2 * (2 * len(models) - 1)  # two metrics, every model and every difference
    for model in models:
        assert sum(model in re.split(r"  +|^\[\d\] ", line) for line in lines) == 1, model


def test_long_names_are_spelled_out_once() -> None:
    assert results_lines(results(*LONG))[:3] == [
        f"[1] {LONG[0]}",
        f"[2] {LONG[1]}",
        f"{'':7}  {'[1]':>14}  {'[2]':>14}  {'[2] - [1]':>15}",
    ]


def test_a_table_of_benchmarks_fits_the_terminal(tmp_path: Path) -> None:
    for number, name in enumerate(("aime24", "minerva")):
        found = results(*(f"{model}-{'x' * 40}" for model in ("a", "b", "c")))
        rates = {key: {"mean_tokens": None, "truncated": 0.0, "unparsed": 0.0, "no_verdict": 0.0} for key in found["models"]}
        write_json(tmp_path / name / "results.json", {**found, "rates": rates, "n": number})
    write_tables(tmp_path, ["aime24", "minerva"])
    lines = (tmp_path / "table.txt").read_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("Minerva") for line in lines) == 2  # all five columns do not fit beside the first four


def training_folder(folder: Path) -> list[str]:
    write_text(folder / "train.yaml", yaml.safe_dump({"seed": 7, "model": {"path": "embedded"}, "method": {"name": "kl_cov"}}))
    steps = [{"step": n, "stage": 0, "reward": 0.5, "entropy": 0.25, "kl": None, "step_time": 2.0} for n in (1, 2)]
    write_text(folder / "metrics.jsonl", "".join(f"{line}\n" for line in map(json.dumps, steps)))
    return ["method kl_cov, model embedded, seed 7", "What the entropy did", "Training took 4 s", "train.yaml"]


def evaluation_folder(folder: Path) -> list[str]:
    config = load_config(None, SMALL)
    evaluate(config, {"one": None, "two": None}, config.problems.test.load("problems.test"), folder)
    return ["models one, two", "two - one", "What came out", "Read some", "evaluation.yaml"]


def benchmark_folder(folder: Path) -> list[str]:
    data, drawn = write_benchmarks(folder.parent / "data"), folder.parent / "drawn.jsonl"
    problems = [f"aime24-{i + 1}" for i in range(30)] + [f"amc23-{i + 1}" for i in range(40)]
    drawn.write_text("".join(json.dumps({"problem": p, "text": "Answer: 1", "model": "m"}) + "\n" for p in problems * 2))
    evaluate_benchmarks(load_config(None, SMALL), {}, ["aime24", "amc23"], folder, data=data, responses=drawn)
    return ["AIME24", "AMC23", "average", "right answer"]


@pytest.mark.parametrize("make", [training_folder, evaluation_folder, benchmark_folder])
def test_every_folder_that_a_command_leaves_has_a_report(tmp_path: Path, make: Callable[[Path], list[str]]) -> None:
    folder = tmp_path / "folder"
    expected = make(folder)
    page = write_report(folder).read_text(encoding="utf-8")
    for text in expected:
        assert text in page
    assert ("<svg" in page, "<script" in page) == (True, False)


def test_other_folders_are_refused_with_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        write_report(tmp_path / "none")
    with pytest.raises(UserError, match=r"`sent run` \(run.yaml\), `sent train` \(train.yaml\) or `sent evaluate`"):
        write_report(tmp_path)
    write_text(tmp_path / "b" / "train.yaml", "seed: 1\n")
    with pytest.raises(UserError, match=f"did you mean {tmp_path / 'b'}?"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="nothing to report yet"):
        write_report(tmp_path / "b")
    write_text(tmp_path / "s" / "study.yaml", "name: s\n")
    with pytest.raises(UserError, match=r"a study; `sent study NAME --out .* --page`"):
        write_report(tmp_path / "s")
