"""What everything else is about: a question with a checkable answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Problem:
    """A question and its gold answer.

    ``id`` is unique within a set of problems; ``source`` names the set; ``metadata`` is whatever else the row said. Two of its keys mean
    something to the grader: ``accept``, other right answers, and ``tolerance``, how far off a number may be.
    """

    id: str
    prompt: str
    answer: str
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def golds(self) -> tuple[str, ...]:
        """Every answer that is right."""
        return (self.answer, *map(str, self.metadata.get("accept") or ()))

    @property
    def tolerance(self) -> float | None:
        value = self.metadata.get("tolerance")
        return None if value is None else float(value)


PROBLEMS = pa.schema({"id": pa.string(), "prompt": pa.string(), "answer": pa.string(), "source": pa.string(), "metadata": pa.string()})
"""One row a problem; ``metadata`` is JSON."""


def problem_row(problem: Problem) -> dict[str, Any]:
    """A row of PROBLEMS."""
    text = json.dumps(dict(problem.metadata), default=str, ensure_ascii=False)
    return {"id": problem.id, "prompt": problem.prompt, "answer": problem.answer, "source": problem.source, "metadata": text}


def problem_of(row: Mapping[str, Any]) -> Problem:
    """The problem of a row of PROBLEMS, or of one that has at least id, prompt and answer."""
    metadata = json.loads(row.get("metadata") or "{}")
    return Problem(str(row["id"]), str(row["prompt"]), str(row["answer"]), str(row.get("source") or ""), metadata)
