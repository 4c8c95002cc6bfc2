"""Which engine samples, and how: sections of a recipe."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

BATCH = {"transformers": 64, "vllm": 4096, "openai": 1024}
"""Responses at once and between two saves, where ``Sampling.batch_size`` says nothing."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OpenAIServer(_Section):
    """A server that speaks OpenAI's protocol: vllm serve, SGLang, llama.cpp and others."""

    url: str = Field("http://localhost:8000/v1", pattern=r"^https?://", description="where it listens, /v1 included")
    model: str | None = Field(None, description="the model's name there; the only one that it serves where not given")
    key: str = Field("OPENAI_API_KEY", description="environment variable that holds the key, if the server wants one")
    concurrency: int = Field(64, ge=1, description="requests under way at once")
    retries: int = Field(8, ge=0, description="further attempts of a request that got no answer, with growing pauses of up to 8 seconds")
    timeout: float = Field(600, gt=0, description="seconds without a word from the server after which a request counts as lost")
    extra: dict[str, Any] = Field(default_factory=dict, description="what else to say in every request, e.g. top_k")


class RayWorkers(_Section):
    """Engines side by side on a Ray cluster, through Ray Data."""

    workers: int = Field(1, ge=1, description="engines, each with the whole model")
    cpus: float = Field(1, ge=0, description="CPUs of each")
    gpus: float = Field(0, ge=0, description="GPUs of each; with vllm at least vllm.tensor_parallel_size")
    address: str | None = Field(None, description="of the cluster; auto for the one that runs here; a new one on this machine if not given")


class EngineConfig(_Section):
    """What samples for score and evaluate (training has its own: docs/scale.md)."""

    kind: Literal["transformers", "vllm", "openai"] = Field("transformers", description="transformers, vllm (in this process), openai")
    vllm: dict[str, Any] = Field(default_factory=dict, description="what vllm.LLM takes besides the model, e.g. tensor_parallel_size")
    openai: OpenAIServer = OpenAIServer()
    ray: RayWorkers | None = Field(None, description="spread it over a Ray cluster: workers, cpus, gpus, address")

    @property
    def batch_size(self) -> int:
        """Responses at once, where ``Sampling.batch_size`` says nothing."""
        return BATCH[self.kind]
