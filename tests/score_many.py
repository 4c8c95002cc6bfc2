"""Run by test_rollouts: scores so many problems, 16 long responses each, of an engine that makes them up; prints the peak memory in MB."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sent_rl import pipeline
from sent_rl.config import load_config
from sent_rl.problems import Problem
from sent_rl.rollouts import Prompt, Response, Sampling

TEXT = "so it goes on and on " * 300


class MadeUp:
    batch_size = 4096

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, logprobs: bool = False) -> list[list[Response]]:
        return [[Response(f"{TEXT}\\boxed{{{(seed + i) % 5}}}", 2048, True) for i in range(n)] for _ in prompts]


def main() -> None:
    count, out = int(sys.argv[1]), Path(sys.argv[2])
    engine: Any = MadeUp()
    vars(pipeline).update(lazy_engine=lambda *_: engine, check_engine=lambda *_, **__: None)
    problems = [Problem(str(i), f"what is {i}?", str(i % 5), "made up", {}) for i in range(count)]
    pipeline.score(load_config(None, ["score.samples=16"]), problems, out)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    main()
