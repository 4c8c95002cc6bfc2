"""Which engine samples: the configuration, and how each is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sent_rl.errors import UserError
from sent_rl.models import ModelConfig, load, load_tokenizer, model_identity, resolve_model
from sent_rl.rollouts.engine import Engine, Prompt, Response, Sampling, Workers

_BATCH = {"transformers": 64, "vllm": 4096, "openai": 1024}


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
        return _BATCH[self.kind]


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


def lazy_engine(config: EngineConfig, model: ModelConfig, path: str | None = None) -> LazyEngine | Workers:
    """The configured engine, or several under Ray, opened when it is first asked for a sample: where all parts are there it need not be."""
    if config.ray is not None:
        from sent_rl.rollouts.ray import RayEngines

        return RayEngines(config, model, path)
    return LazyEngine(config.batch_size, lambda: open_engine(config, model, path))


def check_engine(config: EngineConfig, model: ModelConfig, path: str | None = None, chat: bool = False) -> None:
    """Refuse before anything is written what :func:`open_engine` would refuse, as far as that is known without the weights.

    Args:
        chat: whether the prompts are chat messages.

    Raises:
        UserError: as :func:`open_engine`; the tokenizer has no chat template.
    """
    for wanted, package in ((config.kind == "vllm", "vllm"), (config.ray is not None, "ray")):
        if wanted and find_spec(package) is None:
            raise UserError(f"engine: {package} is not installed; pip install 'sent-rl[{package}]'")
    if config.kind == "openai":
        from sent_rl.rollouts.openai import served_model

        served_model(config.openai, path)
    else:
        load_tokenizer(model, path, chat=chat)


def engine_identity(config: EngineConfig, model: ModelConfig, path: str | None = None) -> list[Any]:
    """What tells these samples from those of another model or engine; where a server stands does not count."""
    if config.kind == "openai":
        return [config.kind, path or config.openai.model, model.stop, config.openai.extra]
    return [config.kind, *model_identity(model, path)]


def engine_path(config: EngineConfig, name: str) -> str:
    """What a model's name on the command line means: a folder or Hub id, or the name on the server."""
    return name if config.kind == "openai" else resolve_model(name)


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
