"""A verl job whose chat template opens a thought in the prompt."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from sent_rl.trainers.verl.thoughts import settle_thoughts

OURS = "pkg://sent_rl.trainers.verl.reward"
DATASET = [{"raw_prompt": [{"role": "user", "content": "2+2"}]}]


def job(path: str | None, **kwargs: Any) -> DictConfig:
    function = {"path": path, "name": "compute_score", "reward_kwargs": kwargs}
    return OmegaConf.create({"data": {"apply_chat_template_kwargs": {}}, "reward": {"custom_reward_function": function}})


def tokenizer(end: str) -> Any:
    def apply_chat_template(messages: list[dict[str, str]], tokenize: bool, add_generation_prompt: bool) -> str:
        assert not tokenize
        return messages[0]["content"] + (end if add_generation_prompt else "")

    return SimpleNamespace(apply_chat_template=apply_chat_template)


@pytest.mark.parametrize(
    ("config", "end", "opened", "told"),
    [
        (job(OURS), "<think>\n", True, True),
        (job(OURS), "\n", False, None),
        (job("own.py"), "<think>\n", True, None),
        (job(OURS, opened=False), "<think>\n", False, False),
    ],
)
def test_our_reward_is_told(config: DictConfig, end: str, opened: bool, told: bool | None) -> None:
    assert settle_thoughts(config, tokenizer(end), DATASET) == opened
    assert config.reward.custom_reward_function.reward_kwargs.get("opened") == told
