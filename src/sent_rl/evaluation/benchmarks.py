r"""The benchmarks: where each comes from, what its columns mean, how many problems it must have, and how it is asked.

The data come from the Hugging Face Hub, or from a folder of copies; they are not part of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sent_rl.answers import extract
from sent_rl.errors import UserError, nearest
from sent_rl.problems import Problem
from sent_rl.problems.sources import File, Hub

BOXED_PROMPT = "{question}\nPlease reason step by step, and put your final answer within \\boxed{}."
"""The paper's prompt (section 3), the same for all its benchmarks."""

Row = Mapping[str, Any]
Gold = Callable[[Row], str]


def _column(name: str) -> Gold:
    """The answer stands in a column; the first of a list, where the column holds one; 27.0 means 27."""

    def gold(row: Row) -> str:
        value = row[name]
        text = str(value[0] if isinstance(value, list) else value).strip()
        return text.removesuffix(".0") if isinstance(value, float) else text

    return gold


def _boxed_in(solution: str, fallback: str) -> Gold:
    r"""The answer is the \boxed one of the solution, where the row has a solution."""

    def gold(row: Row) -> str:
        boxed = extract(str(row.get(solution) or ""), ["boxed"])
        return boxed or _column(fallback)(row)

    return gold


def _after_hashes(row: Row) -> str:
    return str(row["answer"]).rpartition("####")[2].strip()


@dataclass(frozen=True)
class Benchmark:
    """One declaration.

    Attributes:
        counts: how many problems its known versions have.
        files: where a copy may lie below ``--data``, the first that is there.
        questions: columns of the question, the first that a row has.
        gold: the row's right answer.
        tolerance, solution: columns, where there are such.
        group: what a question has in common with others, for the standard error.
    """

    title: str
    hub: Hub
    counts: tuple[int, ...]
    answers: str
    files: tuple[str, ...]
    questions: tuple[str, ...] = ("problem", "question")
    gold: Gold = field(default=_column("answer"))
    tolerance: str | None = None
    solution: str = "solution"
    group: Callable[[str], str] | None = None
    prompt: str = BOXED_PROMPT
    licence: str = ""


def _preamble(question: str) -> str:
    """Minerva's subproblems repeat the problem that they belong to, word by word, before the text of their own."""
    return question.split("Subproblem", 1)[0].strip()[:80]


_MAA = "problem texts (c) MAA, widely redistributed for evaluation"
BENCHMARKS: dict[str, Benchmark] = {
    "aime24": Benchmark(
        "AIME24", Hub(dataset="HuggingFaceH4/aime_2024", split="train"), (30,), "whole numbers 0 to 999",
        ("aime24/evalchemy_aime24.jsonl", "aime24.jsonl"),
        gold=lambda row: _column("expected_answer" if "expected_answer" in row else "answer")(row), licence=_MAA,
    ),
    "aime25": Benchmark(
        "AIME25", Hub(dataset="math-ai/aime25", split="test"), (30,), "whole numbers 0 to 999",
        ("aime25/evalchemy_aime25.jsonl", "aime25.jsonl"), licence=_MAA,
    ),
    "amc23": Benchmark(
        "AMC23", Hub(dataset="math-ai/amc23", split="test"), (40,), "numbers",
        ("amc23/qwen25math_test.jsonl", "amc23.jsonl"), licence=_MAA,
    ),
    "amc12-83": Benchmark(
        "AMC12 22+23", Hub(dataset="AI-MO/aimo-validation-amc", split="train"), (83,), "numbers",
        ("amc23/deepscaler_amc_83.json", "amc12-83.jsonl"), licence=_MAA,
    ),
    "math500": Benchmark(
        "MATH500", Hub(dataset="HuggingFaceH4/MATH-500", split="test"), (500,), "numbers, expressions, sets, tuples, words",
        ("math500/zhuofengli_test.jsonl", "math500.jsonl"), licence="MIT (MATH; the split from openai/prm800k, MIT)",
    ),
    "olympiadbench": Benchmark(
        "OlympiadBench", Hub(dataset="Hothan/OlympiadBench", config="OE_TO_maths_en_COMP", split="train"), (675, 674),
        "numbers, expressions, tuples, intervals; 94 with several answers, one with a tolerance",
        ("olympiadbench/qwen25math_test.jsonl", "olympiadbench.jsonl"), questions=("question",),
        gold=_column("final_answer"), tolerance="error", licence="MIT (OpenBMB/OlympiadBench)",
    ),
    "minerva": Benchmark(
        "Minerva", Hub(dataset="math-ai/minervamath", split="test"), (272,), "numbers with units, expressions, equations",
        ("minerva/deepscaler_minerva.json", "minerva.jsonl"),
        gold=_boxed_in("solution", "answer"), group=_preamble, licence="CC BY-NC-SA 4.0 (texts from MIT OpenCourseWare)",
    ),
    "gsm8k": Benchmark(
        "GSM8K", Hub(dataset="openai/gsm8k", config="main", split="test"), (1319,), "whole numbers",
        ("gsm8k/openai_test.jsonl", "gsm8k.jsonl"), gold=_after_hashes, solution="answer", licence="MIT",
    ),
}  # fmt: skip
"""By name. The first six but amc12-83 are the paper's."""
PAPER_BENCHMARKS = ("aime24", "aime25", "amc23", "math500", "olympiadbench", "minerva")


def benchmark(name: str) -> Benchmark:
    """A benchmark by name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in BENCHMARKS:
        raise UserError(f"benchmarks: {name!r}; {nearest(name, BENCHMARKS)}")
    return BENCHMARKS[name]


def load_benchmark(name: str, data: Path | None = None) -> list[Problem]:
    """Its problems, in order, ids ``NAME-1`` and so on.

    Args:
        data: a folder of copies, laid out as ``files`` of the declaration says; without it the Hub is asked.

    Raises:
        UserError: no such benchmark, no such file, a column is missing, or the number of problems is none that it should have.
    """
    declared = benchmark(name)
    rows, origin = _rows(declared, data)
    if len(rows) not in declared.counts:
        wanted = " or ".join(map(str, declared.counts))
        raise UserError(f"{origin}: {declared.title} has {wanted} problems, this has {len(rows)}; get the whole set")
    return [_problem(declared, name, number, row, origin) for number, row in enumerate(rows, 1)]


def _rows(declared: Benchmark, data: Path | None) -> tuple[list[dict[str, Any]], str]:
    if data is None:
        return declared.hub.rows(), declared.hub.dataset
    if not data.is_dir():
        raise UserError(f"--data {data}: no such folder")
    found = next((data / file for file in declared.files if (data / file).is_file()), None)
    if found is None:
        raise UserError(f"--data {data}: no {declared.title} in it; put it at {' or '.join(declared.files)}")
    return File(path=str(found)).rows(), str(found)


def _problem(declared: Benchmark, name: str, number: int, row: Row, origin: str) -> Problem:
    try:
        question = next(str(row[column]) for column in declared.questions if row.get(column))
        gold = declared.gold(row)
    except (StopIteration, KeyError, IndexError) as error:
        raise UserError(f"{origin}: row {number} has no question or answer that is known; it has {', '.join(map(str, row))}") from error
    context = str(row.get("context") or "").strip()
    metadata: dict[str, Any] = {}
    if declared.tolerance and row.get(declared.tolerance):
        metadata["tolerance"] = float(str(row[declared.tolerance]).split(",")[0])
    if declared.group:
        metadata["group"] = declared.group(question)
    solution = row.get(declared.solution)
    if solution:
        metadata["solution"] = "\n".join(solution) if isinstance(solution, list) else str(solution)
    return Problem(f"{name}-{number}", f"{context}\n{question}" if context else question, gold, name, metadata)
