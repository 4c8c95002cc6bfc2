"""Opening the configured engine, and what can be said of it before."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from sent_rl.errors import UserError
from sent_rl.models import ModelConfig, load, model_identity, resolve_model
from sent_rl.rollouts.config import EngineConfig
from sent_rl.rollouts.engine import Engine, Prompt
from sent_rl.spelling import check_spelling


def open_engine(config: EngineConfig, model: ModelConfig, path: str | None = None) -> Engine:
    """The configured engine in this process, for ``path`` where given (a trained copy), else for the configured model.

    Raises:
        UserError: the model cannot be loaded, a package is missing, or the server does not answer.
    """
    if config.kind == "vllm":
        from sent_rl.rollouts.vllm import VLLMEngine

        return VLLMEngine(model, path, config.vllm)
    if config.kind == "openai":
        from sent_rl.rollouts.openai import OpenAIEngine

        return OpenAIEngine(config.openai, path, model.stop)
    from sent_rl.rollouts.transformers import TransformersEngine

    return TransformersEngine(*load(model, path))


def check_engine(config: EngineConfig, model: ModelConfig, prompts: Sequence[Prompt], path: str | None = None) -> None:
    """Refuse before anything is written what :func:`open_engine` would refuse, as far as that is known without the weights.

    Args:
        prompts: that are going to be sampled from.

    Raises:
        UserError: as :func:`open_engine`; the tokenizer has no chat template for chat messages, or
            cannot spell the prompts.
    """
    for wanted, package in ((config.kind == "vllm", "vllm"), (config.ray is not None, "ray")):
        if wanted and find_spec(package) is None:
            raise UserError(f"engine: {package} is not installed; pip install 'sent-rl[{package}]'")
    if config.kind == "openai":
        from sent_rl.rollouts.openai import served_model

        served_model(config.openai, path)
    else:
        check_spelling(model, prompts, path)


def engine_identity(config: EngineConfig, model: ModelConfig, path: str | None = None) -> list[Any]:
    """What tells these samples from those of another model or engine; where a server stands does not count."""
    if config.kind == "openai":
        from sent_rl.rollouts.openai import served_model

        return [config.kind, served_model(config.openai, path), model.stop, config.openai.extra]
    return [config.kind, *model_identity(model, path)]


def engine_path(config: EngineConfig, name: str) -> str:
    """What a model's name on the command line means: a folder or Hub id, or the name on the server."""
    return name if config.kind == "openai" else resolve_model(name)
