"""The one protocol that everything which samples speaks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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
    batch_size: int | None = Field(
        None, ge=1, description="responses sampled at once and saved together; 64 where not given, 4096 with vllm, 1024 with openai"
    )


def clean_text(text: str) -> str:
    """Half characters, which no file can hold, as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def derived_seed(seed: int, place: int) -> int:
    """A seed of 32 bits for one part or request of many; far apart, since servers count up from it for the n samples of a request."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{place}".encode(), digest_size=4).digest(), "big")


@dataclass(frozen=True)
class Request:
    """One part of a larger work: what :meth:`Engine.sample` takes."""

    prompts: Sequence[Prompt]
    n: int
    sampling: Sampling
    seed: int
    logprobs: bool = False


class Engine(Protocol):
    """Samples responses."""

    batch_size: int
    """How many at once and between two saves, where ``Sampling.batch_size`` says nothing."""

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, logprobs: bool = False) -> list[list[Response]]:
        """``n`` responses to each prompt; the same arguments give the same responses."""
        ...


@runtime_checkable
class Workers(Protocol):
    """Several engines that share out the parts of a work among them."""

    batch_size: int

    def sample_each(self, requests: Sequence[Request]) -> Iterator[tuple[int, list[list[Response]]]]:
        """The place of each request and its responses, as they are done, in any order."""
        ...
