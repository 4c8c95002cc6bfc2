"""Whether the chat template of a verl job opens a thought in the prompt, as DeepSeek-R1-Distill's does."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from sent_rl.answers import ends_in_thought

_REWARD = "reward.custom_reward_function"
_OURS = "sent_rl.trainers.verl.reward"


def settle_thoughts(config: DictConfig, tokenizer: Any, dataset: Any) -> bool:
    """Whether responses begin inside a thought; our reward is told so, unless its ``opened`` is set.

    Args:
        dataset: verl's, whose rows have ``raw_prompt``, the chat messages; the first one counts.
    """
    said = OmegaConf.select(config, f"{_REWARD}.reward_kwargs.opened")
    if said is not None:
        return bool(said)
    options = dict(config.data.get("apply_chat_template_kwargs") or {})
    options.update(tokenize=False, add_generation_prompt=True)
    opened = ends_in_thought(str(tokenizer.apply_chat_template(list(dataset[0]["raw_prompt"]), **options)))
    if opened and _OURS in str(OmegaConf.select(config, f"{_REWARD}.path") or ""):
        with open_dict(config):
            OmegaConf.update(config, f"{_REWARD}.reward_kwargs.opened", True, force_add=True)
    return opened
