"""vLLM for real, on a CPU: in this process, and as a server that `sent score` asks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sent_rl.errors import UserError
from sent_rl.files import read_table
from sent_rl.models import EMBEDDED, ModelConfig
from sent_rl.problems import arithmetic_problems
from sent_rl.rollouts import Prompt, Sampling
from sent_rl.rollouts.vllm import VLLMEngine

# What vLLM wants to be told on a small machine without a GPU, before it is imported.
os.environ.update(VLLM_CPU_KVCACHE_SPACE="1", VLLM_CPU_OMP_THREADS_BIND="nobind", OMP_NUM_THREADS="1")

PROMPTS: list[Prompt] = [f"{p.prompt}\n" for p in arithmetic_problems([1, 2, 3], 7, "test")]
SMALL = {"max_model_len": 128, "enforce_eager": True}
LATE = 150
"""Seconds until a server that does not answer counts as broken."""


@pytest.fixture(scope="module")
def engine() -> Iterator[VLLMEngine]:
    opened = VLLMEngine(ModelConfig(), None, SMALL)
    yield opened
    opened.close()


def test_responses_and_log_probs_are_the_models(engine: VLLMEngine) -> None:
    """Against one forward pass of transformers a response."""
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    sampling = Sampling(max_tokens=12, temperature=0.8)
    groups = engine.sample(PROMPTS, 4, sampling, seed=0, logprobs=True)
    assert [len(group) for group in groups] == [4] * 7
    assert {r.finished for group in groups for r in group} == {True, False}
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for response in group:
            ids = tokenizer(response.text).input_ids + [tokenizer.eos_token_id] * response.finished
            assert response.tokens == len(ids)
            prompt_ids = tokenizer(prompt).input_ids
            with torch.no_grad():
                log_probs = torch.log_softmax(model(torch.tensor([prompt_ids + ids])).logits[0], -1)
            mean = sum(log_probs[len(prompt_ids) - 1 + t, token].item() for t, token in enumerate(ids)) / len(ids)
            assert response.logprob == pytest.approx(mean, abs=1e-4)
    texts = [[r.text for r in group] for group in groups]
    assert [[r.text for r in group] for group in engine.sample(PROMPTS, 4, sampling, seed=0)] == texts
    assert [[r.text for r in group] for group in engine.sample(PROMPTS, 4, sampling, seed=1)] != texts


def test_samples_follow_the_models_distribution(engine: VLLMEngine) -> None:
    """The first token of 2,000 responses against its probabilities."""
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    with torch.no_grad():
        wanted = torch.softmax(model(torch.tensor([tokenizer(PROMPTS[0]).input_ids])).logits[0, -1], -1)
    ((*drawn,),) = engine.sample(PROMPTS[:1], 2000, Sampling(max_tokens=1), seed=5)
    counts = torch.zeros(len(wanted))
    for response in drawn:
        ids = tokenizer(response.text).input_ids or [tokenizer.eos_token_id]
        counts[ids[0]] += 1
    off = (counts / 2000 - wanted).abs() / (wanted * (1 - wanted) / 2000).sqrt().clamp(min=1e-3)
    assert off.max() < 4.5


def test_what_vllm_refuses(engine: VLLMEngine) -> None:
    with pytest.raises(UserError, match=r"engine.vllm: vLLM refuses a prompt"):
        engine.sample(["1+" * 200], 1, Sampling(max_tokens=4), seed=0)
    with pytest.raises(UserError, match=r"engine.vllm.dtype: has a key of its own; set model.dtype"):
        VLLMEngine(ModelConfig(), None, {"dtype": "float16"})
    with pytest.raises(UserError, match=r"engine.vllm: vLLM cannot start"):
        VLLMEngine(ModelConfig(), None, {"no_such_option": 1})


def sent(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sent_rl.cli", *arguments], capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}, check=False
    )


def test_evaluate_two_models_one_after_the_other(tmp_path: Path) -> None:
    """The first model's memory is given back, so that the second finds room."""
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(EMBEDDED), str(copy)], check=True)
    settings = ["--set", f"engine.vllm={SMALL}", "--set", "problems.test.count=6", "--set", "evaluate.sampling.max_tokens=40"]
    done = sent(
        "evaluate", "embedded", str(copy), "--engine", "vllm", "--recipe", "quickstart", "--out", str(tmp_path / "e"),
        "--n", "4", "--k", "1,4", *settings,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(read_table(tmp_path / "e" / "samples.parquet")) == 2 * 6 * 4


@pytest.fixture
def port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        found: int = s.getsockname()[1]
    return found


def serve(port: int, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(EMBEDDED), "--served-model-name", "tiny"]
    command += ["--port", str(port), "--host", "127.0.0.1", "--dtype", "float32", "--generation-config", "vllm"]
    command += ["--max-model-len", "128", "--enforce-eager"]
    with log.open("ab") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    until = time.monotonic() + LATE
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return server
        except OSError:
            assert server.poll() is None, log.read_text()[-3000:]
            time.sleep(0.5)
    stop(server)
    raise AssertionError(log.read_text()[-3000:])


def stop(server: subprocess.Popen[bytes]) -> None:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def test_a_server_that_dies_in_the_middle(tmp_path: Path, port: int) -> None:
    """`sent score` says so, keeps what is done, and goes on when the server is back."""
    settings = [
        "problems.train.count=200", "score.sampling.batch_size=16", f"engine.openai.url=http://127.0.0.1:{port}/v1",
        "engine.openai.retries=1", "engine.openai.concurrency=8",
    ]  # fmt: skip
    command = ["score", "--recipe", "quickstart", "--engine", "openai", "--out", str(tmp_path / "scores.parquet")]
    command += [part for setting in settings for part in ("--set", setting)]
    server = serve(port, tmp_path / "log")
    try:
        asking = subprocess.Popen([sys.executable, "-m", "sent_rl.cli", *command], stderr=subprocess.PIPE, text=True)
        parts = tmp_path / "scores.parquet.parts"
        until = time.monotonic() + LATE
        while len(list(parts.glob("*.parquet"))) < 3 and time.monotonic() < until:
            assert asking.poll() is None
            time.sleep(0.05)
    finally:
        stop(server)
    _, errors = asking.communicate(timeout=LATE)
    assert asking.returncode == 2
    assert "engine.openai" in errors
    assert "finished parts are kept" in errors
    before = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    assert 3 <= len(before) < 100
    server = serve(port, tmp_path / "log")
    try:
        done = sent(*command)
    finally:
        stop(server)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = read_table(tmp_path / "scores.parquet")
    assert len(rows) == 200
    assert all(row["samples"] == 8 for row in rows)
    assert 0.2 < sum(row["pass_rate"] for row in rows) / 200 < 0.5  # as the model in this process has it
