"""Problems -> a file: as this package reads them, or in verl's row schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from sent_rl.errors import UserError
from sent_rl.files import write_table, write_text
from sent_rl.problems.problem import Problem

RowSchema = Literal["plain", "verl"]

_GRADING = {"accept": pa.list_(pa.string()), "tolerance": pa.float64()}

VERL = pa.schema(
    {
        "data_source": pa.string(),
        "prompt": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "ability": pa.string(),
        "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
        "extra_info": pa.struct({"index": pa.int64(), "id": pa.string(), **_GRADING, "prompt": pa.string(), "metadata": pa.string()}),
    }
)
"""What verl's RLHFDataset and its reward managers read; ``extra_info`` holds what a reward may need besides.

verl shows a reward neither the prompt nor the other columns of a problem: ``prompt`` is its text, and
``metadata`` those columns as JSON.
"""
_OF_VERL = ("data_source", "ability", "reward_model", "extra_info")
_PLAIN = pa.schema({"id": pa.string(), "prompt": pa.string(), "answer": pa.string(), "source": pa.string(), **_GRADING})


def verl_row(problem: Problem, index: int, template: str = "{question}") -> dict[str, Any]:
    """A row of VERL; the question inside ``template`` is the one user message."""
    prompt = template.replace("{question}", problem.prompt)
    columns = {key: value for key, value in problem.metadata.items() if key not in _OF_VERL}
    return {
        "data_source": problem.source or "sent-rl",
        "prompt": [{"role": "user", "content": prompt}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": problem.answer},
        "extra_info": {
            "index": index,
            "id": problem.id,
            "accept": list(problem.golds[1:]),
            "tolerance": problem.tolerance,
            "prompt": prompt,
            "metadata": json.dumps(columns, default=str, ensure_ascii=False),
        },
    }


def _plain_row(problem: Problem) -> dict[str, Any]:
    texts = {"id": problem.id, "prompt": problem.prompt, "answer": problem.answer, "source": problem.source}
    return {**texts, "accept": list(problem.golds[1:]), "tolerance": problem.tolerance}


def write_problems(problems: Sequence[Problem], path: Path, schema: RowSchema = "plain", template: str = "{question}") -> None:
    """Write .jsonl or .parquet.

    Raises:
        UserError: another kind of file.
    """
    if path.suffix not in (".jsonl", ".parquet"):
        raise UserError(f"{path}: write .jsonl or .parquet")
    if schema == "verl":
        rows, table = [verl_row(p, i, template) for i, p in enumerate(problems)], VERL
    else:
        rows, table = [_plain_row(p) for p in problems], _PLAIN
    if path.suffix == ".parquet":
        write_table(path, rows, table)
    else:
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
