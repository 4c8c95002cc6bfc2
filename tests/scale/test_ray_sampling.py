"""Sampling on a Ray cluster of this machine with two workers: the same responses as one engine gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from sent_rl.errors import UserError
from sent_rl.models import ModelConfig
from sent_rl.problems import arithmetic_problems
from sent_rl.rollouts import EngineConfig, Sampling, collect, engine_identity, lazy_engine
from sent_rl.rollouts.config import RayWorkers
from sent_rl.rollouts.engine import Request
from sent_rl.rollouts.ray import RayEngines

TWO = EngineConfig(ray=RayWorkers(workers=2))
PROBLEMS = arithmetic_problems([1, 2], 10, "test")
PROMPTS = [f"{p.prompt}\n" for p in PROBLEMS]


@pytest.fixture(autouse=True, scope="module")
def _cluster() -> Iterator[None]:
    yield
    ray.shutdown()


def gather(config: EngineConfig, folder: Path) -> tuple[list[list[str]], list[int]]:
    told: list[int] = []
    drawn = collect(
        lazy_engine(config, ModelConfig()), PROBLEMS, PROMPTS, 4, Sampling(max_tokens=24, batch_size=8), 0, folder,
        model=engine_identity(config, ModelConfig()), advance=told.append,
    )  # fmt: skip
    return [[r.text for r in responses] for _, responses in drawn], told


def test_two_workers_draw_what_one_engine_draws(tmp_path: Path) -> None:
    alone, _ = gather(EngineConfig(), tmp_path / "alone")
    together, told = gather(TWO, tmp_path / "together")
    assert together == alone
    assert told == [0, 2, 2, 2, 2, 2]
    for part in (1, 3):  # a crash took these parts
        (tmp_path / "together" / f"{part:06d}.parquet").unlink()
    again, told = gather(TWO, tmp_path / "together")
    assert again == alone
    assert told == [6, 2, 2]


def test_likelihoods_survive_the_way(tmp_path: Path) -> None:
    request = Request(PROMPTS[:2], 2, Sampling(max_tokens=8), 3, logprobs=True)
    ((place, drawn),) = RayEngines(TWO, ModelConfig()).sample_each([request])
    assert place == 0
    assert all(r.logprob < 0 for group in drawn for r in group)
    ((_, without),) = RayEngines(TWO, ModelConfig()).sample_each([Request(PROMPTS[:1], 1, Sampling(max_tokens=8), 3)])
    assert without[0][0].logprob != without[0][0].logprob  # nan


def test_what_a_worker_refuses_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^/no/where: no such model folder"):
        list(RayEngines(TWO, ModelConfig(path="/no/where")).sample_each([Request(PROMPTS[:1], 1, Sampling(max_tokens=4), 0)]))


def test_more_than_the_machine_has_is_refused_and_not_waited_for() -> None:
    many = EngineConfig(ray=RayWorkers(workers=(os.cpu_count() or 1) + 1))
    with pytest.raises(UserError, match=r"workers want \d+ CPUs and the cluster has \d+; lower engine.ray.workers"):
        list(RayEngines(many, ModelConfig()).sample_each([Request(PROMPTS[:1], 1, Sampling(), 0)]))
    ray.shutdown()
    nowhere = EngineConfig(ray=RayWorkers(address="auto"))
    with pytest.raises(UserError, match=r"engine.ray.address: no cluster at auto"):
        list(RayEngines(nowhere, ModelConfig()).sample_each([Request(PROMPTS[:1], 1, Sampling(), 0)]))
