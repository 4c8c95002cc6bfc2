from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2Config, GPT2Config, GraniteConfig

from sent_rl.models import EMBEDDED, ModelConfig, load
from sent_rl.problems import Problem, arithmetic_problems
from sent_rl.rollouts import Prompt, Response, Sampling, collect
from sent_rl.rollouts.transformers import TransformersEngine

PROBLEMS = arithmetic_problems([1, 2, 3], 7, "test")
PROMPTS: list[Prompt] = [f"{p.prompt}\n" for p in PROBLEMS]


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    return TransformersEngine(*load(ModelConfig()))


def test_the_same_seed_gives_the_same_responses(engine: TransformersEngine) -> None:
    sampling = Sampling(max_tokens=40, batch_size=8)
    state = torch.get_rng_state()
    first = engine.sample(PROMPTS, 3, sampling, seed=1)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers are left alone
    assert texts(engine.sample(PROMPTS, 3, sampling, seed=1)) == texts(first)
    assert texts(engine.sample(PROMPTS, 3, sampling, seed=2)) != texts(first)
    assert [len(group) for group in first] == [3] * 7


def texts(groups: Sequence[Sequence[Response]]) -> list[list[str]]:
    return [[r.text for r in group] for group in groups]


def test_lengths_ends_and_log_probs(engine: TransformersEngine) -> None:
    """Against one unpadded forward pass a response, in the plain way."""
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    groups = engine.sample(PROMPTS, 4, Sampling(max_tokens=12, batch_size=28), seed=0, logprobs=True)
    assert {r.finished for group in groups for r in group} == {True, False}
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for response in group:
            ids = tokenizer(response.text).input_ids + [tokenizer.eos_token_id] * response.finished
            assert response.tokens == len(ids) <= 12
            assert response.finished or response.tokens == 12
            prompt_ids = tokenizer(prompt).input_ids
            with torch.no_grad():
                log_probs = torch.log_softmax(model(torch.tensor([prompt_ids + ids])).logits[0], -1)
            mean = sum(log_probs[len(prompt_ids) - 1 + t, token].item() for t, token in enumerate(ids)) / len(ids)
            assert response.logprob == pytest.approx(mean, abs=1e-4)
    assert math.isnan(engine.sample(PROMPTS[:1], 1, Sampling(max_tokens=4), seed=0)[0][0].logprob)


def test_a_stop_token_ends_a_response() -> None:
    engine = TransformersEngine(*load(ModelConfig(stop=["\n"])))
    groups = engine.sample(PROMPTS, 2, Sampling(max_tokens=40), seed=0)
    assert all(r.finished and r.text.count("\n") <= 1 for group in groups for r in group)


class Counting:
    """An engine that makes responses up and counts what it was asked for; it fails at a given call."""

    batch_size = 64

    def __init__(self, fail_at: int = -1) -> None:
        self.calls, self.fail_at = 0, fail_at

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, logprobs: bool = False) -> list[list[Response]]:
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        return [[Response(f"{prompt}{seed}{i}", 1, True, 0.5) for i in range(n)] for prompt in prompts]


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2", "granite"])
def test_likelihoods_of_other_heads_and_positions(architecture: str) -> None:
    """Absolute positions under left padding, soft-capped logits, scaled logits: against one row at a time."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED, padding_side="left")
    small = {"vocab_size": 20, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = {
        "gpt2": lambda: GPT2Config(vocab_size=20, n_embd=32, n_layer=1, n_head=2, eos_token_id=1),
        "gemma2": lambda: Gemma2Config(**small, head_dim=16, intermediate_size=64, final_logit_softcapping=1.0, eos_token_id=1),
        "granite": lambda: GraniteConfig(**small, intermediate_size=64, logits_scaling=8.0, eos_token_id=1),
    }[architecture]()
    model = AutoModelForCausalLM.from_config(config).float().eval()
    model.generation_config.eos_token_id = 1
    groups = TransformersEngine(model, tokenizer).sample(PROMPTS, 2, Sampling(max_tokens=6, batch_size=14), seed=0, logprobs=True)
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for response in group:
            ids = tokenizer(response.text).input_ids + [1] * response.finished
            if len(ids) != response.tokens:
                continue  # a special token that the text does not show
            start = tokenizer(prompt).input_ids
            with torch.no_grad():
                log_probs = torch.log_softmax(model(torch.tensor([start + ids])).logits[0], -1)
            mean = sum(log_probs[len(start) - 1 + t, token].item() for t, token in enumerate(ids)) / len(ids)
            assert response.logprob == pytest.approx(mean, abs=1e-4)


def gather(engine: Counting, folder: Path, seed: int = 0, model: str = "m") -> list[tuple[Problem, list[Response]]]:
    return list(collect(engine, PROBLEMS, PROMPTS, 2, Sampling(batch_size=4), seed, folder, model=model))


def test_a_cut_collection_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = gather(Counting(), tmp_path / "whole")
    assert [p for p, _ in whole] == PROBLEMS
    with pytest.raises(KeyboardInterrupt):
        gather(Counting(fail_at=3), tmp_path / "cut")
    rest = Counting()
    assert gather(rest, tmp_path / "cut") == whole
    assert rest.calls == 4 - 2  # two problems a part, seven problems, two parts were there


def test_parts_of_another_request_are_not_used(tmp_path: Path) -> None:
    first = gather(Counting(), tmp_path / "p")
    for changed in ({"seed": 1}, {"model": "other"}):
        again = Counting()
        assert (gather(again, tmp_path / "p", **changed) == first) == ("model" in changed)
        assert again.calls == 4


def test_responses_do_not_pile_up_in_memory(tmp_path: Path) -> None:
    """Four times as many problems, 400 MB of text, take no more memory. The whole of DAPO-Math-17k was measured once: docs/scale.md."""

    def peak(count: int) -> int:
        script = [sys.executable, str(Path(__file__).with_name("score_many.py")), str(count), str(tmp_path / f"{count}.parquet")]
        done = subprocess.run(script, capture_output=True, text=True, check=True)
        return int(done.stdout.split()[-1])

    few, many = peak(1000), peak(4000)
    assert many < few + 80
