"""verl itself loads a reward function of the user's from the words of an exported job, and asks it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from verl.trainer.ppo.reward import get_custom_reward_fn

from sent_rl.config import load_config
from sent_rl.problems import Problem
from sent_rl.problems.writing import verl_row
from sent_rl.trainers.verl.export import overrides

MODULE = """
def by_level(prompts, completions, level, **columns):
    return [10.0 * each + len(prompt) for each, prompt in zip(level, prompts)]
"""


def test_verl_asks_the_users_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_rewards.py").write_text(MODULE)
    config = load_config(None, ["answers.reward_function=my_rewards:by_level"])
    words = [word.lstrip("+") for word in overrides(config, 1, 1, 64, "vllm") if "reward." in word]
    monkeypatch.chdir("/")  # the job's workers run elsewhere
    score: Any = get_custom_reward_fn(OmegaConf.from_dotlist(words))
    row = verl_row(Problem("a", "1+1", "2", "sums", {"level": 3}), 0, "{question}\n")
    asked = {"solution_str": "Answer: 2", "ground_truth": row["reward_model"]["ground_truth"]}

    async def as_its_manager_does() -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            None, lambda: score(data_source=row["data_source"], extra_info={**row["extra_info"], "num_turns": None}, **asked)
        )

    assert asyncio.run(as_its_manager_does()) == {"score": 34.0, "acc": True, "pred": "2", "verdict": "same"}
