"""Sampling with vLLM in this process: one request a prompt with n samples, which share the prompt's cache."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from sent_rl.errors import UserError, first_line
from sent_rl.models import ModelConfig, encode, load_tokenizer, resolve_model, stop_ids
from sent_rl.rollouts.config import BATCH
from sent_rl.rollouts.engine import Prompt, Response, Sampling, derived_seed


class VLLMEngine:
    """Samples with ``vllm.LLM``, with prefix caching.

    Prompts are encoded here, so that every engine sees the same ids. Log-probs are vLLM's, at temperature 1. The same arguments give the
    same responses as far as vLLM's kernels do: on GPUs a batch of another shape may differ in the last digits.

    Args:
        options: what ``vllm.LLM`` takes besides.

    Raises:
        UserError: vLLM is not installed, or does not accept the model or the options.
    """

    batch_size = BATCH["vllm"]

    def __init__(self, model: ModelConfig, path: str | None, options: Mapping[str, Any]) -> None:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        self.tokenizer = load_tokenizer(model, path)
        self.stops = sorted(stop_ids(model, self.tokenizer))
        try:
            from vllm import LLM
        except ImportError as error:
            raise UserError(f"engine.kind: vllm is not installed, or cannot be imported ({error}); pip install vllm") from error
        own = {"model": path or resolve_model(model.path), "dtype": model.dtype}
        for key in own:
            if key in options:
                raise UserError(f"engine.vllm.{key}: has a key of its own; set model.{'path' if key == 'model' else key}")
        try:
            self.llm = LLM(**{"enable_prefix_caching": True, "disable_log_stats": True, **options, **own})
        except (ValueError, TypeError, RuntimeError, OSError) as error:
            raise UserError(f"engine.vllm: vLLM cannot start ({first_line(error)})") from error

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, logprobs: bool = False) -> list[list[Response]]:
        import vllm.exceptions
        from vllm import SamplingParams

        refusals = (ValueError, getattr(vllm.exceptions, "VLLMValidationError", ValueError))
        asked = [{"prompt_token_ids": encode(self.tokenizer, prompt)} for prompt in prompts]
        params = [
            SamplingParams(
                n=n,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=-1,
                max_tokens=sampling.max_tokens,
                seed=derived_seed(seed, place),
                stop_token_ids=self.stops,
                logprobs=0 if logprobs else None,
            )
            for place in range(len(prompts))
        ]
        try:
            outputs = self.llm.generate(asked, params, use_tqdm=False)
        except refusals as error:  # a prompt that is longer than the model's context, for example
            raise UserError(f"engine.vllm: vLLM refuses a prompt ({first_line(error)})") from error
        return [[_response(each, logprobs) for each in output.outputs] for output in outputs]

    def close(self) -> None:
        """End vLLM's own processes, which hold the model's memory."""
        self.llm.llm_engine.engine_core.shutdown()


def _response(output: Any, logprobs: bool) -> Response:
    tokens = len(output.token_ids)
    mean = output.cumulative_logprob / max(1, tokens) if logprobs else float("nan")
    return Response(output.text, tokens, output.finish_reason == "stop", mean)
