"""The one protocol that everything which samples speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

Prompt = str | list[dict[str, str]]
"""Plain text to continue, or chat messages for the model's own template."""


@dataclass(frozen=True)
class Response:
    """``text`` without special tokens; ``tokens``: how many, the end-of-text token included, None where it was not recorded;
    ``finished``: whether it ended by itself; ``logprob``: mean log-prob a token in nats at temperature 1, nan where not asked for."""

    text: str
    tokens: int | None
    finished: bool
    logprob: float = float("nan")


class Sampling(BaseModel):
    """How responses are drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(1.0, gt=0, description="softmax temperature")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling; 1 is off")
    max_tokens: int = Field(2048, ge=1, description="longest response, in tokens")
    batch_size: int = Field(64, ge=1, description="responses sampled at once")


class Engine(Protocol):
    """Samples responses."""

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, logprobs: bool = False) -> list[list[Response]]:
        """``n`` responses to each prompt; the same arguments give the same responses."""
        ...
