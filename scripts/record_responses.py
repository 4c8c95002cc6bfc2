"""Writes a small file of recorded responses to the benchmarks, to exercise their scoring: right answers in many spellings, wrong ones,
and none at all, in known shares.

    python scripts/record_responses.py --data DIR --out responses.jsonl

Nothing is sampled: the right answers are the gold answers in another dress, the wrong ones those of the next problem.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sent_rl.evaluation.benchmarks import PAPER_BENCHMARKS, load_benchmark
from sent_rl.problems import Problem

RIGHT = (
    "The steps lead to \\boxed{{{0}}}.",
    "So the result is $\\boxed{{ {0} }}$. It was checked.",
    "<think>Perhaps \\boxed{{12345}}?</think>\nIt is\n\n\\boxed{{{0}}}",
    "Work, work.\nAnswer: ${0}$",
    "**Answer:** {0}",
    "Hence the final answer is ${0}$. I hope it is correct.",
    "First \\boxed{{0}}, but that was wrong; in fact \\boxed{{{0}}}.",
)
WITHOUT = ("I cannot tell.", "<think>Let me see, \\boxed{{{0}}} might be", "")


def responses(problems: list[Problem], model: str, skill: float, n: int, seed: int) -> Iterator[dict[str, Any]]:
    """``n`` rows a problem; the share of right ones is ``skill`` on average and varies from problem to problem."""
    rng = random.Random(f"{seed}/{model}/{problems[0].source}")
    for number, problem in enumerate(problems):
        other = problems[(number + 1) % len(problems)]
        ability = rng.betavariate(4 * skill, 4 * (1 - skill))
        for _ in range(n):
            draw = rng.random()
            right = draw < ability
            template = rng.choice(RIGHT if right or draw < 0.97 else WITHOUT)
            text = template.format((problem if right else other).answer)
            yield {"model": model, "problem": problem.id, "text": text, "tokens": len(text.split()), "finished": "<think>Let" not in text}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with options.out.open("w", encoding="utf-8") as file:
        for name in PAPER_BENCHMARKS:
            problems = load_benchmark(name, options.data)
            for model, skill in (("weak", 0.3), ("strong", 0.5)):
                for row in responses(problems, model, skill, options.n, options.seed):
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
