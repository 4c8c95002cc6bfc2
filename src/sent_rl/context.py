"""A prompt and its response may not be longer than the model has positions for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from sent_rl.config import RunConfig
from sent_rl.errors import UserError
from sent_rl.models import EMBEDDED, encode, load_tokenizer
from sent_rl.rollouts import Prompt

Step = Literal["score", "train", "evaluate"]
STEPS: tuple[Step, ...] = ("score", "train", "evaluate")

POSITIONS = {
    "smollm2": 8_192,
    "Qwen/Qwen2.5-0.5B-Instruct": 32_768,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 131_072,
    "Qwen/Qwen2.5-Math-7B": 4_096,
    "Qwen/Qwen3-14B": 40_960,
}
"""The recipes' models, as their config.json has it, for checks before anything is fetched."""

_TEMPLATE = 512
"""Tokens that a chat template takes at most, beside the prompt."""


def positions(model: str) -> int | None:
    """How many tokens of prompt and response a model is made for.

    Known of the recipes' models, of a folder, and of a model that was fetched from the Hub before;
    None of others, and of architectures without such a limit.
    """
    if model in POSITIONS:
        return POSITIONS[model]
    file = EMBEDDED / "config.json" if model == "embedded" else _config_file(model)
    if file is None:
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # whoever loads it says so
    return _positions_in(config.get("text_config") or config)


def _config_file(model: str) -> Path | None:
    folder = Path(model).expanduser() / "config.json"
    if folder.is_file():
        return folder
    if model.count("/") != 1:
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(model, "config.json")
    except HFValidationError:
        return None
    return Path(cached) if isinstance(cached, str) else None


def _positions_in(config: dict[str, Any]) -> int | None:
    """What a config.json says; stretched rotary embeddings reach further by their factor."""
    found = config.get("max_position_embeddings") or config.get("n_positions")
    if not isinstance(found, int):
        return None
    stretched = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if stretched.get("rope_type", stretched.get("type")) in ("yarn", "linear", "dynamic"):
        original = stretched.get("original_max_position_embeddings") or found
        return max(found, int(original * stretched.get("factor", 1)))
    return found


def fitted(config: RunConfig, *steps: Step, models: Sequence[str] | None = None) -> RunConfig:
    """The configuration with the ``max_tokens`` of these steps inside the models' positions.

    A length that the recipe does not give becomes half the positions where that is less than the
    default.

    Args:
        steps: all where none is named.
        models: that are sampled; the configured one by default.

    Raises:
        UserError: a length that was given leaves no room for a prompt.
    """
    changes: dict[str, Any] = {}
    for step in steps or STEPS:
        model, limit = _limit(config, step, models)
        section = getattr(config, step)
        place = section if step == "train" else section.sampling
        if limit is None:
            continue
        if "max_tokens" in place.model_fields_set:
            if place.max_tokens >= limit:
                raise _too_long(step, place.max_tokens, "a prompt", limit, model, limit // 2)
        elif place.max_tokens > limit // 2:
            shorter = place.model_copy(update={"max_tokens": limit // 2})
            changes[step] = shorter if step == "train" else section.model_copy(update={"sampling": shorter})
    return config.model_copy(update=changes)


def check_prompts(config: RunConfig, step: Step, prompts: Sequence[Prompt], models: Sequence[str] | None = None) -> None:
    """Refuse prompts of a step that leave less room than its ``max_tokens`` to the response.

    Raises:
        UserError: says how many there are, and which length would fit all.
    """
    model, limit = _limit(config, step, models)
    if limit is None:
        return
    section = getattr(config, step)
    tokens = section.max_tokens if step == "train" else section.sampling.max_tokens
    room = limit - tokens
    # A token is a byte at least, so that hardly a prompt has to be encoded.
    doubtful = [prompt for prompt in prompts if len(_text(prompt).encode()) + _TEMPLATE > room]
    if not doubtful:
        return
    tokenizer = load_tokenizer(config.model, None if model == config.model.path else model, chat=config.prompting.chat)
    lengths = [len(encode(tokenizer, prompt)) for prompt in doubtful]
    long = [length for length in lengths if length > room]
    if long:
        what = f"the longest prompt, {max(long)} tokens (too long: {len(long)} of {len(prompts)}),"
        raise _too_long(step, tokens, what, limit, model, max(0, limit - max(long)))


def _limit(config: RunConfig, step: Step, models: Sequence[str] | None) -> tuple[str, int | None]:
    """The model with the fewest positions, and these; None where none are known, or by a server."""
    of_models = {model: positions(model) for model in models or (config.model.path,)}
    if step != "train":
        if config.engine.kind == "openai":
            of_models = {}
        elif config.engine.kind == "vllm" and "max_model_len" in config.engine.vllm:
            of_models = dict.fromkeys(of_models, int(config.engine.vllm["max_model_len"]))
    known = [(limit, model) for model, limit in of_models.items() if limit is not None]
    return (min(known)[1], min(known)[0]) if known else ("", None)


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "".join(message["content"] for message in prompt)


def _too_long(step: Step, tokens: int, prompt: str, limit: int, model: str, fitting: int) -> UserError:
    key = "train.max_tokens" if step == "train" else f"{step}.sampling.max_tokens"
    remedy = f"set it to {fitting} or less" if fitting else "leave such prompts out"
    return UserError(f"{key}: {tokens} tokens and {prompt} do not fit into the {limit} positions of {model!r}; {remedy}")
