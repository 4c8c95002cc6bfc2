"""Samples of one or more policies on the same questions -> verdicts -> numbers with error bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sent_rl.answers.equivalence import finding
from sent_rl.evaluation.estimators import Estimate, avg_at_k, estimate, pass_at_k
from sent_rl.problems import Problem
from sent_rl.rollouts import Response

Reader = Callable[[str, bool], str | None]
"""Finds the final answer in a response, of which it is told too whether it was finished."""
SAMPLES = pa.schema(
    {
        "model": pa.string(),
        "problem": pa.string(),
        "sample": pa.int64(),
        "text": pa.string(),
        "answer": pa.string(),
        "correct": pa.bool_(),
        "verdict": pa.string(),
        "tokens": pa.int64(),
        "finished": pa.bool_(),
    }
)
"""One row a response. ``answer``: null where none could be read; ``verdict``: same, different, or why there is none
(a :data:`sent_rl.answers.equivalence.Finding`); ``tokens``: null where it is not known."""
_VERDICTS = ("same", "different")


def sample_rows(model: str, sampled: Iterable[tuple[Problem, Sequence[Response]]], read: Reader) -> Iterator[dict[str, Any]]:
    """Rows of SAMPLES, with verdicts; ``read`` finds the answer in a response."""
    for problem, responses in sampled:
        for number, response in enumerate(responses):
            answer = read(response.text, response.finished)
            found = finding(problem.golds, answer, problem.tolerance)
            yield {
                "model": model,
                "problem": problem.id,
                "sample": number,
                "text": response.text,
                "answer": answer,
                "correct": found == "same",
                "verdict": found,
                "tokens": response.tokens,
                "finished": response.finished,
            }


def results(rows: Iterable[Mapping[str, Any]], ks: Sequence[int], groups: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The content of results.json.

    ``models``: for each model ``avg@K`` and ``pass@K`` with value and standard error over questions; ``differences``: the same for each
    later model minus the first, paired by question; ``rates``: mean response length in tokens, shares of truncated responses, of those
    without an answer, and of those without a verdict; ``no_verdict``: for each model how many have
    none, by reason; ``n``: samples a question; ``problems``: how many. avg@K is the same estimate for
    every K: the mean over all n samples.

    Args:
        groups: problem id -> what it has in common with others; the standard errors are then clustered.

    Raises:
        ValueError: models with different questions, or a different number of samples somewhere.
    """
    table = list(rows)
    models = list(dict.fromkeys(row["model"] for row in table))
    scores = {model: _per_question([row for row in table if row["model"] == model], ks) for model in models}
    questions, n = _common_shape(table, models)
    base = scores[models[0]]
    member = [groups[q] for q in sorted(groups)] if groups else None
    return {
        "models": {model: {m: _plain(estimate(values, member)) for m, values in scores[model].items()} for model in models},
        "differences": {
            f"{model} - {models[0]}": {m: _plain(estimate(values - base[m], member)) for m, values in scores[model].items()}
            for model in models[1:]
        },
        "rates": {model: _rates([row for row in table if row["model"] == model]) for model in models},
        "no_verdict": {model: _reasons([row for row in table if row["model"] == model]) for model in models},
        "n": n,
        "problems": questions,
    }


def _per_question(rows: Sequence[Mapping[str, Any]], ks: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """Every metric's value for each question, questions in order of their id."""
    drawn: dict[str, int] = {}
    right: dict[str, int] = {}
    for row in rows:
        drawn[row["problem"]] = drawn.get(row["problem"], 0) + 1
        right[row["problem"]] = right.get(row["problem"], 0) + bool(row["correct"])
    n = np.array([drawn[q] for q in sorted(drawn)])
    c = np.array([right[q] for q in sorted(drawn)])
    return {f"avg@{k}": avg_at_k(n, c) for k in ks} | {f"pass@{k}": pass_at_k(n, c, k) for k in ks}


def _common_shape(table: Sequence[Mapping[str, Any]], models: Sequence[str]) -> tuple[int, int]:
    """(questions, samples a question), the same for all."""
    counts: dict[tuple[str, str], int] = {}
    for row in table:
        key = (row["model"], row["problem"])
        counts[key] = counts.get(key, 0) + 1
    asked = [{q for m, q in counts if m == model} for model in models]
    if any(questions != asked[0] for questions in asked) or len(set(counts.values())) != 1:
        raise ValueError("every model needs the same number of samples of the same questions")
    return len(asked[0]), next(iter(counts.values()))


def _plain(value: Estimate) -> dict[str, float | None]:
    """For JSON, which has no nan: the standard error of a single question is null."""
    return {"value": value.value, "stderr": None if np.isnan(value.stderr) else value.stderr}


def _rates(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    known = [row["tokens"] for row in rows if row["tokens"] is not None]
    return {
        "mean_tokens": float(np.mean(known)) if known else None,
        "truncated": float(np.mean([not row["finished"] for row in rows])),
        "unparsed": float(np.mean([row["answer"] is None for row in rows])),
        "no_verdict": float(np.mean([row["verdict"] not in _VERDICTS for row in rows])),
    }


def _reasons(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return dict(sorted(Counter(row["verdict"] for row in rows if row["verdict"] not in _VERDICTS).items()))
