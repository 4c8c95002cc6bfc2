"""Sampling from a server that speaks OpenAI's protocol: vllm serve, SGLang, llama.cpp and others."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sent_rl.errors import UserError, first_line, nearest
from sent_rl.rollouts.config import BATCH, OpenAIServer
from sent_rl.rollouts.engine import Prompt, Response, Sampling, clean_text, derived_seed


class OpenAIEngine:
    """A request for every response, so many under way at once; a request without an answer is sent again with growing pauses.

    Plain prompts go to ``/completions``, chat messages to ``/chat/completions``, where the server applies its template. What the request
    does not say is the server's default: vllm serve takes top_k and others from the model's folder unless it is started with
    ``--generation-config vllm``.

    Args:
        name: the model's name on the server; ``server.model``, or the only one that it serves, where not given.
        stop: texts that end a response.

    Raises:
        UserError: the package openai is missing, the server does not answer, or it serves no such model.
    """

    batch_size = BATCH["openai"]

    def __init__(self, server: OpenAIServer, name: str | None = None, stop: Sequence[str] = ()) -> None:
        self.server, self.stop = server, list(stop)
        self.model = served_model(server, name)

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, logprobs: bool = False) -> list[list[Response]]:
        import openai

        try:
            drawn = asyncio.run(self._all([prompt for prompt in prompts for _ in range(n)], sampling, seed, logprobs))
        except* openai.OpenAIError as group:
            raise _refused(self.server, group.exceptions[0]) from None
        except* UserError as group:
            raise group.exceptions[0] from None
        return [drawn[i * n : (i + 1) * n] for i in range(len(prompts))]

    async def _all(self, prompts: Sequence[Prompt], sampling: Sampling, seed: int, logprobs: bool) -> list[Response]:
        import openai

        slots = asyncio.Semaphore(self.server.concurrency)

        async def one(place: int, prompt: Prompt) -> Response:
            async with slots:
                return await self._ask(client, prompt, sampling, derived_seed(seed, place), logprobs)

        async with openai.AsyncOpenAI(**_connection(self.server)) as client, asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(place, prompt)) for place, prompt in enumerate(prompts)]
        return [task.result() for task in tasks]

    async def _ask(self, client: Any, prompt: Prompt, sampling: Sampling, seed: int, logprobs: bool) -> Response:
        asked: dict[str, Any] = {
            "model": self.model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": seed,
            "extra_body": self.server.extra,
        }
        if self.stop:
            asked["stop"] = self.stop
        with _as_protocol(self.server):
            if isinstance(prompt, str):
                answer = await client.completions.create(prompt=prompt, **asked, **({"logprobs": 1} if logprobs else {}))
            else:
                answer = await client.chat.completions.create(messages=prompt, **asked, **({"logprobs": True} if logprobs else {}))
            return self._read(answer, isinstance(prompt, str), logprobs)

    def _read(self, answer: Any, plain: bool, logprobs: bool) -> Response:
        if not answer.choices:
            raise UserError(f"engine.openai: {self.server.url} answered without a choice ({getattr(answer, 'error', None) or 'no reason'})")
        choice = answer.choices[0]
        text = choice.text if plain else choice.message.content
        if text is None:
            warnings.warn(
                f"sent-rl: {self.server.url} answers without text: no answer. A reasoning parser hides thoughts, leave it off",
                stacklevel=2,
            )
        tokens = int(answer.usage.completion_tokens) if answer.usage else None
        mean = self._mean_logp(choice, plain) if logprobs else float("nan")
        return Response(clean_text(text or ""), tokens, choice.finish_reason == "stop", mean)

    def _mean_logp(self, choice: Any, plain: bool) -> float:
        found = choice.logprobs and (choice.logprobs.token_logprobs if plain else [t.logprob for t in choice.logprobs.content or []])
        if not found:
            raise UserError(f"engine.openai: {self.server.url} gives no log-probs; set score.weights=counts")
        return float(sum(found) / len(found))


def served_model(server: OpenAIServer, name: str | None = None) -> str:
    """The name of the model to ask for.

    Raises:
        UserError: the server does not answer, does not serve it, or serves several and none is named.
    """
    try:
        import openai
    except ImportError as error:
        raise UserError("engine.kind: openai needs its package; pip install 'sent-rl[openai]'") from error
    wanted = name or server.model
    try:
        few = {**_connection(server), "max_retries": min(2, server.retries)}  # a wrong address shows at once
        with _as_protocol(server), openai.OpenAI(**few) as client:
            served = [model.id for model in client.models.list()]
        if not all(isinstance(each, str) for each in served):
            raise UserError(f"engine.openai: {server.url} lists models without names; is it a server for language models?")
    except openai.NotFoundError as error:  # a server without a list of its models
        if wanted is None:
            raise UserError(f"engine.openai.model: {server.url} does not say what it serves; name it") from error
        return wanted
    except openai.OpenAIError as error:
        raise _refused(server, error) from error
    if wanted is None and not served:
        raise UserError(f"engine.openai.model: {server.url} lists no models; name one")
    if wanted is None and len(served) == 1:
        return str(served[0])
    if wanted is None or (served and wanted not in served):
        what = "which model" if wanted is None else f"it serves no {wanted!r}"
        raise UserError(f"engine.openai.model: {server.url}: {what}; {nearest(wanted or '', served)}")
    return wanted


def _connection(server: OpenAIServer) -> dict[str, Any]:
    key = os.environ.get(server.key) or "none"  # local servers want none, but the client wants something
    return {"base_url": server.url, "api_key": key, "max_retries": server.retries, "timeout": server.timeout}


def _refused(server: OpenAIServer, error: BaseException) -> UserError:
    if isinstance(error, BaseExceptionGroup):
        return _refused(server, error.exceptions[0])
    import openai

    hints: dict[type[Exception], str] = {
        openai.AuthenticationError: f"put the key into the environment variable {server.key} (engine.openai.key)",
        openai.NotFoundError: "is /v1 in engine.openai.url, and the model's name right?",
        openai.BadRequestError: "it will not take this request; finished parts are kept",
    }
    hint = next((text for kind, text in hints.items() if isinstance(error, kind)), "finished parts are kept, the same command goes on")
    return UserError(f"engine.openai: {server.url}: {' '.join(str(error).split())[:300]}; {hint}")


@contextmanager
def _as_protocol(server: OpenAIServer) -> Iterator[None]:
    """The client takes whatever comes for an answer and stumbles over it later; here that becomes a sentence."""
    try:
        yield
    except UserError:
        raise
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        found = f"answered with something that is not OpenAI's protocol ({first_line(error)}); is /v1 in the url?"
        raise UserError(f"engine.openai: {server.url} {found}") from error
