"""A folder of made-up problems in the layout of the benchmarks: every column, the right number of rows, every kind of answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
KINDS = (r"\frac{1}{2}", r"x^2+1", r"(1,2)", r"\text{blue}", r"90^\circ", r"3\sqrt{2}", r"\{1,2\}", r"[0,1)", "1,2", "y = 2x + 3")


def write_benchmarks(folder: Path, short: Sequence[str] = ()) -> Path:
    """All eight files; of those in ``short`` a row is missing."""
    files: dict[str, list[Row]] = {
        "aime24/evalchemy_aime24.jsonl": [{"problem": f"Find {i}.", "expected_answer": str(i), "answer": "no"} for i in range(30)],
        "aime25/evalchemy_aime25.jsonl": [{"id": f"I-{i}", "problem": f"Seek {i}.", "answer": str(i)} for i in range(30)],
        "amc23/qwen25math_test.jsonl": [{"id": i, "problem": f"Which is {i}?", "answer": float(i)} for i in range(40)],
        "amc23/deepscaler_amc_83.json": [{"problem": f"Choose {i}.", "answer": float(i)} for i in range(83)],
        "math500/zhuofengli_test.jsonl": [
            {"problem": f"Say {i}.", "answer": KINDS[i % 10], "solution": f"It is $\\boxed{{{KINDS[i % 10]}}}$."} for i in range(500)
        ],
        "olympiadbench/qwen25math_test.jsonl": [_olympiad(i) for i in range(675)],
        "minerva/deepscaler_minerva.json": [_minerva(i) for i in range(272)],
        "gsm8k/openai_test.jsonl": [{"question": f"Count {i}.", "answer": f"All of them.\n#### {i:,}"} for i in range(1319)],
    }
    for name, rows in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = rows[:-1] if name.split("/")[0] in short else rows
        lines = json.dumps(kept) if name.endswith(".json") else "\n".join(map(json.dumps, kept))
        path.write_text(lines, encoding="utf-8")
    return folder


def _olympiad(i: int) -> Row:
    several = i % 7 == 0
    return {
        "id": i,
        "context": "Let a hold." if i % 2 else None,
        "question": f"Prove {i}.",
        "solution": [f"Because {i}."],
        "final_answer": [f"${i}$,$-{i + 1}$" if several else f"${i}$"],
        "is_multiple_answer": several,
        "unit": "cm" if i == 5 else None,
        "error": "1e-1" if i == 3 else None,
    }


def _minerva(i: int) -> Row:
    """Every two problems share a text; the listed answer of the second is wrongly that of the first, as in the file this imitates."""
    own = f"{i + 1} \\times 10^{{{i % 5}}}"
    listed = own if i % 2 == 0 else f"{i} \\times 10^{{{(i - 1) % 5}}}"
    question = f"A star of kind {i // 2} shines on a planet whose air is clear and whose only telescope is ten metres wide." + (
        f"\nSubproblem {i % 2}: how long?" if i % 2 else " How far?"
    )
    return {"problem": question, "solution": f"It is \\boxed{{{own}}} m.", "answer": [f"{listed}\n"], "idx": i}
