"""Engines that are opened when they are first asked for a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from sent_rl.models import ModelConfig
from sent_rl.rollouts.config import EngineConfig
from sent_rl.rollouts.engine import Engine, Prompt, Response, Sampling, Workers
from sent_rl.rollouts.engines import open_engine
from sent_rl.rollouts.ray import RayEngines


def lazy_engine(config: EngineConfig, model: ModelConfig, path: str | None = None) -> LazyEngine | Workers:
    """The configured engine, or several under Ray, opened when it is first asked for a sample: where all parts are there it need not be."""
    if config.ray is not None:
        return RayEngines(config, model, path)
    return LazyEngine(config.batch_size, lambda: open_engine(config, model, path))


class LazyEngine:
    """Opens its engine when it is first asked for a sample, and can close it again."""

    def __init__(self, batch_size: int, opened: Callable[[], Engine]) -> None:
        self.batch_size, self._open = batch_size, opened

    @cached_property
    def engine(self) -> Engine:
        return self._open()

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, logprobs: bool = False) -> list[list[Response]]:
        return self.engine.sample(prompts, n, sampling, seed, logprobs)

    def close(self) -> None:
        """Give the model's memory back."""
        engine = self.__dict__.pop("engine", None)
        if hasattr(engine, "close"):
            engine.close()
