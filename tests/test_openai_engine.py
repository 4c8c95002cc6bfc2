"""The engine for OpenAI-compatible servers against a small server of ours; `make test-vllm` has vLLM's own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sent_rl.errors import UserError
from sent_rl.models import ModelConfig
from sent_rl.problems import Problem
from sent_rl.rollouts import EngineConfig, Prompt, Sampling, collect, engine_identity, lazy_engine, open_engine
from sent_rl.rollouts.config import OpenAIServer

MODEL, NO_MODEL = "tiny", ModelConfig()


class Server(ThreadingHTTPServer):
    """Answers with the prompt's last word and the seed; fails as told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.failures: list[int] = []  # status codes of the next answers
        self.refuse = ""  # prompts with this text in them are refused
        self.busy = self.busiest = 0
        self.models = [MODEL]
        self.raw: bytes | None = None  # the answer to everything, where given
        self.raw_list: bytes | None = None  # and the list of models
        self.extra: dict[str, Any] = {}  # what every choice has besides
        self.lock = threading.Lock()

    @property
    def config(self) -> OpenAIServer:
        return OpenAIServer(url=f"http://127.0.0.1:{self.server_port}/v1", concurrency=4, retries=3, timeout=20)


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.server.raw_list is not None:
            self._send_bytes(200, self.server.raw_list)
            return
        self._send(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.server.models]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.busy += 1
            server.busiest = max(server.busiest, server.busy)
            failure = server.failures.pop() if server.failures else 0
            if not failure:
                server.asked.append(asked)
        time.sleep(0.02)
        with server.lock:
            server.busy -= 1
        prompt = asked["prompt"] if self.path.endswith("/v1/completions") else asked["messages"][-1]["content"]
        if server.refuse and server.refuse in prompt:
            failure = 400
        if server.raw is not None:
            self._send_bytes(200, server.raw)
        elif failure:
            self._send(failure, {"error": {"message": "not now"}})
        else:
            text = f"{prompt.split()[-1]} {asked['seed']}"
            content = {"text": text} if "prompt" in asked else {"message": {"role": "assistant", "content": text}}
            choice = {"index": 0, "finish_reason": "length" if "long" in prompt else "stop", **content, **server.extra}
            self._send(200, {"id": "1", "created": 0, "model": MODEL, "object": "", "choices": [choice], "usage": usage(text)})

    def _send(self, status: int, value: dict[str, Any]) -> None:
        self._send_bytes(status, json.dumps(value).encode())

    def _send_bytes(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def usage(text: str) -> dict[str, int]:
    return {"prompt_tokens": 1, "completion_tokens": len(text), "total_tokens": len(text) + 1}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


def sample(server: OpenAIServer, prompts: list[Prompt], n: int = 3, seed: int = 0, logprobs: bool = False) -> list[list[Any]]:
    from sent_rl.rollouts.openai import OpenAIEngine

    return OpenAIEngine(server).sample(prompts, n, Sampling(temperature=0.5, top_p=0.9, max_tokens=7), seed, logprobs)


def test_every_response_is_a_request_of_its_own(server: Server) -> None:
    prompts: list[Prompt] = ["say one", "say long", [{"role": "user", "content": "say three"}]]
    groups = sample(server.config, prompts, n=5)
    assert [{r.text.split()[0] for r in group} for group in groups] == [{"one"}, {"long"}, {"three"}]
    assert [{r.finished for r in group} for group in groups] == [{True}, {False}, {True}]
    assert all(r.tokens == len(r.text) for group in groups for r in group)
    assert len({r.text.split()[1] for group in groups for r in group}) == 15  # a seed each
    assert all((a["temperature"], a["top_p"], a["max_tokens"], a["model"]) == (0.5, 0.9, 7, MODEL) for a in server.asked)
    assert [[r.text for r in group] for group in sample(server.config, prompts, n=5)] == [[r.text for r in group] for group in groups]
    assert sample(server.config, prompts, n=5, seed=1) != groups


def test_never_more_requests_at_once_than_asked_for(server: Server) -> None:
    sample(server.config, [f"say {i}" for i in range(10)])
    assert server.busiest == 4


def test_what_got_no_answer_is_asked_again(server: Server) -> None:
    server.failures = [500, 429, 503]
    assert len(sample(server.config, ["say one", "say two"])) == 2
    assert len(server.asked) == 6


def test_a_server_that_stays_down(server: Server) -> None:
    server.failures = [500] * 1000
    with pytest.raises(UserError, match=r"engine.openai: http://127.0.0.1:\d+/v1: .*not now.*; finished parts are kept"):
        sample(server.config.model_copy(update={"retries": 1}), ["say one", "say two"])


def test_no_server() -> None:
    with pytest.raises(UserError, match=r"engine.openai: http://127.0.0.1:9/v1: Connection error"):
        sample(OpenAIServer(url="http://127.0.0.1:9/v1", retries=0), ["say one"])


def test_which_model(server: Server) -> None:
    server.models = ["big", "bigger"]
    with pytest.raises(UserError, match="which model; known: big, bigger"):
        sample(server.config, ["say one"])
    with pytest.raises(UserError, match="it serves no 'bigg'; did you mean 'big'"):
        open_engine(EngineConfig(kind="openai", openai=server.config), NO_MODEL, "bigg")
    sample(server.config.model_copy(update={"model": "big", "extra": {"top_k": 3}}), ["say one"], n=1)
    assert (server.asked[0]["model"], server.asked[0]["top_k"]) == ("big", 3)


@pytest.mark.parametrize(
    "answer",
    [b"<html>", b"", b"null", b"[1]", b'{"choices": {"a": 1}}', b'{"choices": [null]}', b'{"choices": [{"text": 5}]}',
     b'{"choices": [{"text": "a"}], "usage": {"completion_tokens": "many"}}', b'{"choices": [{"message": null}]}'],
)  # fmt: skip
def test_answers_that_are_none(server: Server, answer: bytes) -> None:
    server.raw = answer
    for prompt in ("say one", [{"role": "user", "content": "say two"}]):
        if (b"message" if isinstance(prompt, str) else b"text") in answer:
            continue  # that is an answer to the other kind of prompt
        with pytest.raises(UserError, match=r"answered with something that is not OpenAI's protocol|answers? without"):
            sample(server.config, [prompt], n=1)


def test_an_error_in_a_good_answer_is_shown(server: Server) -> None:
    server.raw = b'{"error": {"message": "model overloaded"}}'
    with pytest.raises(UserError, match=r"answered without a choice .*model overloaded"):
        sample(server.config, ["say one"], n=1)


def test_an_answer_without_text_is_warned_of(server: Server) -> None:
    server.extra = {"message": {"role": "assistant", "content": None}}
    with pytest.warns(UserWarning, match="answers without text"):
        assert sample(server.config, [[{"role": "user", "content": "say one"}]], n=1)[0][0].text == ""


@pytest.mark.parametrize(
    ("listed", "message"),
    [(b"<html>", "is /v1 in the url"), (b"null", "is /v1 in the url"), (b'{"data": []}', "lists no models; name one"),
     (b'{"data": [{}]}', "models without names")],
)  # fmt: skip
def test_lists_that_are_none(server: Server, listed: bytes, message: str) -> None:
    server.raw_list = listed
    with pytest.raises(UserError, match=message):
        sample(server.config, ["say one"])


@pytest.mark.parametrize(("status", "message"), [(401, "environment variable OPENAI_API_KEY"), (404, "is /v1 in engine.openai.url")])
def test_refusals_say_what_to_do(server: Server, status: int, message: str) -> None:
    server.failures = [status] * 9
    with pytest.raises(UserError, match=message):
        sample(server.config, ["say one"])


def test_log_probs(server: Server) -> None:
    server.extra = {"logprobs": {"token_logprobs": [-1.0, -2.0], "content": [{"token": "a", "logprob": -3.0, "top_logprobs": []}]}}
    plain, chat = sample(server.config, ["say one", [{"role": "user", "content": "say two"}]], n=1, logprobs=True)
    assert (plain[0].logprob, chat[0].logprob) == (-1.5, -3.0)
    server.extra = {}
    with pytest.raises(UserError, match=r"gives no log-probs; set score\.weights=counts"):
        sample(server.config, ["say one"], n=1, logprobs=True)


def test_half_characters_can_be_stored(server: Server) -> None:
    server.extra = {"text": "\ud83d"}
    assert sample(server.config, ["say one"], n=1)[0][0].text == "?"


def test_a_refused_part_does_not_lose_the_others(server: Server, tmp_path: Path) -> None:
    """The server refuses one prompt: what was done stays, and the same call goes on there."""
    config = EngineConfig(kind="openai", openai=server.config)
    problems = [Problem(id=str(i), prompt=f"say {i}.", answer="1", source="test") for i in range(6)]
    told: list[int] = []

    def gather() -> list[list[str]]:
        engine, prompts = lazy_engine(config, NO_MODEL), [p.prompt for p in problems]
        drawn = collect(
            engine, problems, prompts, 2, Sampling(batch_size=4), 0, tmp_path / "p",
            model=engine_identity(config, NO_MODEL), advance=told.append,
        )  # fmt: skip
        return [[r.text for r in responses] for _, responses in drawn]

    server.refuse = "5."
    with pytest.raises(UserError, match="not now"):
        gather()
    before = len(server.asked)
    server.refuse = ""
    assert [group[0].split()[0] for group in gather()] == ["0.", "1.", "2.", "3.", "4.", "5."]
    assert len(server.asked) - before == 4  # one part of two problems
    assert told == [0, 2, 2, 4, 2]
