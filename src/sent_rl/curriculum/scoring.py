"""Problems -> scores: what the initial policy's own answers say about each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from sent_rl.answers import equivalent
from sent_rl.curriculum.entropy import Unparsed, semantic_entropy
from sent_rl.curriculum.stages import Order, Stages, make_stages
from sent_rl.problems import PROBLEMS, Problem, problem_row
from sent_rl.rollouts import Response

SCORES = pa.schema(
    [
        *PROBLEMS,
        pa.field("semantic_entropy", pa.float64()),
        pa.field("pass_rate", pa.float64()),
        pa.field("samples", pa.int64()),
        pa.field("clusters", pa.int64()),
        pa.field("unparsed", pa.int64()),
        pa.field("truncated", pa.int64()),
        pa.field("mean_tokens", pa.float64()),
        pa.field("answers", pa.list_(pa.string())),
    ]
)
"""One row a problem. ``semantic_entropy`` in nats. ``clusters``, ``unparsed`` and ``truncated`` count of
``samples``: ``truncated`` were cut off at the token limit; ``unparsed`` ended by themselves, but no
answer was found in them. ``answers``: null where a response gave none; a response that was cut off
may have stated one before."""

CURRICULUM = pa.schema([*SCORES, pa.field("stage", pa.int64()), pa.field("position", pa.int64())])
"""SCORES, the ``stage`` of each problem, and its ``position`` in the whole order; rows are in that order."""


def score_rows(
    sampled: Iterable[tuple[Problem, Sequence[Response]]],
    read: Callable[[str, bool], str | None],
    weights: Literal["counts", "likelihood"] = "counts",
    unparsed: Unparsed = "separate",
) -> Iterator[dict[str, Any]]:
    """A row of SCORES for each problem and its responses.

    Args:
        read: finds the answer in the text of a response, and is told whether it ended by itself
            (:func:`sent_rl.curriculum.counted_answer`).
    """
    for problem, responses in sampled:
        answers = [read(r.text, r.finished) for r in responses]
        likelihoods = [math.exp(r.logprob) for r in responses] if weights == "likelihood" else None
        entropy = semantic_entropy(answers, likelihoods, unparsed)
        yield {
            **problem_row(problem),
            "semantic_entropy": entropy.value,
            "pass_rate": sum(equivalent(problem.golds, a, problem.tolerance) for a in answers) / len(answers),
            "samples": len(answers),
            "clusters": len(set(entropy.clusters)),
            "unparsed": sum(a is None and r.finished for a, r in zip(answers, responses, strict=True)),
            "truncated": sum(not r.finished for r in responses),
            "mean_tokens": sum(r.tokens or 0 for r in responses) / len(responses),
            "answers": answers,
        }


def stage_rows(
    scores: Sequence[Mapping[str, Any]],
    stages: int = 2,
    order: Order = "ascending",
    thresholds: Sequence[float] | None = None,
    seed: int = 0,
) -> tuple[list[dict[str, Any]], Stages]:
    """Rows of CURRICULUM in order, and the cut they come from."""
    entropies, pass_rates, ids = ([row[key] for row in scores] for key in ("semantic_entropy", "pass_rate", "id"))
    cut = make_stages(entropies, pass_rates, ids, stages, order, thresholds, seed)
    rows = [{**scores[i], "stage": cut.stage[i], "position": position} for position, i in enumerate(cut.order)]
    return rows, cut


def stage_facts(rows: Sequence[Mapping[str, Any]], cut: Stages) -> dict[str, Any]:
    """What to report about a cut: sizes, tie rate, and each stage's mean semantic entropy and pass rate."""

    def means(key: str) -> list[float]:
        columns: list[list[float]] = [[row[key] for row in rows if row["stage"] == s] for s in range(len(cut.sizes))]
        return [sum(column) / len(column) for column in columns]

    return {
        "sizes": cut.sizes,
        "tie_rate": cut.tie_rate,
        "tied_cuts": cut.tied_cuts,
        "semantic_entropy": means("semantic_entropy"),
        "pass_rate": means("pass_rate"),
    }
