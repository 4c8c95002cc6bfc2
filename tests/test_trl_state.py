"""What a run remembers: the state in its checkpoints, the stage of a step, a step without spread."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from trl_helpers import SENT, logged, ours, tasks

from sent_rl.config import dump_config, load_config
from sent_rl.console import step_line
from sent_rl.curriculum import OnlineStages, StageSampler
from sent_rl.errors import UserError
from sent_rl.methods import Method, get, resolve
from sent_rl.report import write_report
from sent_rl.trainers.trl.run import MetricsFile
from sent_rl.trainers.trl.stages import StagePlan
from sent_rl.trainers.trl.state import STATE_FILE, read_state, write_state

# ---- resuming

STATES: list[tuple[dict[str, Any], dict[str, float]]] = [
    ({"name": "clip_cov"}, {"step": 3.0}),
    ({"name": "entropy_bonus", "adaptive": True}, {"coef": 1e-4, "below_target": 1.0}),
    ({"name": "sent_adaptive"}, {"start": 0.4, "scale": 1.5, "stage": 0.0}),
]


def online(seed: int = 0) -> OnlineStages:
    return OnlineStages(StageSampler([0, 0, 1, 1], 2, seed=seed), [0.0, 0.1, 0.2, 0.3])


def refused(checkpoint: Path, method: Method, order: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_state(checkpoint, method, order)
    assert str(error.value).startswith(f"{checkpoint / STATE_FILE}: ")
    assert "resume at a checkpoint" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("options", "state"), STATES, ids=str)
def test_a_state_is_read_whole_or_not_at_all(tmp_path: Path, options: dict[str, Any], state: dict[str, float]) -> None:
    method, file = resolve(options), tmp_path / STATE_FILE
    refused(tmp_path, method, None, "cannot be read")
    for broken in ("", "{", "null", "[]", "{}"):
        file.write_text(broken, encoding="utf-8")
        refused(tmp_path, method, None, "cannot be read")
    key = next(iter(state))
    others = [{}, {"other": 1.0}, {**state, "other": 1.0}, {**state, key: None}, {**state, key: ""}]
    for wrong in (None, *others, {**state, key: math.nan}):
        file.write_text(json.dumps({"method": wrong, "curriculum": None}), encoding="utf-8")
        refused(tmp_path, method, None, f"holds no state of method '{method.name}'")
    write_state(tmp_path, state, None)
    assert read_state(tmp_path, method, None) == state


def test_an_online_curriculum_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    method, order = get("sent_online"), online()
    refused(tmp_path, method, online(), "cannot be read")
    for wrong in (None, {}, {"entropies": [0.0]}):
        text = json.dumps({"method": {}, "curriculum": wrong})
        (tmp_path / STATE_FILE).write_text(text, encoding="utf-8")
        refused(tmp_path, method, online(), "holds no state of an online curriculum")
    order.update({1: 0.7})
    assert list(order)
    write_state(tmp_path, {}, order)
    again = online(seed=1)
    assert read_state(tmp_path, method, again) is None
    assert again.state_dict() == order.state_dict()


def test_a_method_without_a_memory_needs_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path, get("grpo"), None) is None
    assert read_state(tmp_path, get("entropy_bonus"), None) is None


@pytest.mark.parametrize("name", ["sent_adaptive", "sent_online"])
def test_training_does_not_go_on_without_the_state(tmp_path: Path, name: str) -> None:
    shape: dict[str, Any] = {"method": name, "save_strategy": "steps", "save_steps": 1}
    ours(tmp_path, tasks(24, stages=1), max_steps=1, **shape).train()
    checkpoint = tmp_path / "checkpoint-1"
    (checkpoint / STATE_FILE).unlink()
    again = ours(tmp_path, tasks(24, stages=1), max_steps=2, **shape)
    with pytest.raises(UserError, match=r"sent_state.json: cannot be read"):
        again.train(resume_from_checkpoint=str(checkpoint))
    assert not again.batches  # nothing was sampled


# ---- stages


def test_the_stage_of_every_step_by_enumeration() -> None:
    """Micro-batch after micro-batch, for 512 pairs of rollout and optimizer step."""
    wrong, stage = [], [0] * 30 + [1] * 20 + [2] * 10
    for micro, accumulation in product(range(1, 17), range(1, 33)):
        args: Any = SimpleNamespace(
            micro_steps_per_rollout=micro,
            gradient_accumulation_steps=accumulation,
            updates_per_rollout=micro / accumulation,
            generation_batch_size=1,
            num_generations=1,
            num_train_epochs=2,
            max_steps=-1,
            seed=0,
        )
        plan = StagePlan(stage, args)
        of_rollouts = [s for s, count in enumerate(plan.sampler.batches) for _ in range(count)]
        of_micro_batches = [stage for stage in of_rollouts for _ in range(micro)]
        of_steps = of_micro_batches[::accumulation]
        if [plan.stage_of_step(step) for step in range(plan.steps)] != of_steps:
            wrong.append((micro, accumulation))
        assert plan.stage_steps == [of_steps.count(stage) for stage in range(3)]
        args.max_steps = plan.steps
        assert StagePlan(stage, args).steps == plan.steps
    assert wrong == []


def test_sent_adaptive_learns_of_the_stages(tmp_path: Path) -> None:
    method = {"name": "sent_adaptive", **{k: v for k, v in SENT.items() if k != "name"}}
    trainer = ours(tmp_path, tasks(24, stages=3), method=method, max_steps=6)
    trainer.train()
    entropies, starts = logged(trainer, "entropy"), logged(trainer, "state/start")
    assert logged(trainer, "state/stage") == [0, 0, 1, 1, 2, 2]
    highest = [max(entropies[0 : stage * 2 + 1 : 2]) for stage in range(3)]
    assert starts == pytest.approx([highest[i // 2] for i in range(6)], rel=1e-5)


# ---- steps without a spread of rewards


def test_a_step_without_spread_says_so(tmp_path: Path) -> None:
    trainer = ours(tmp_path, method=SENT, max_steps=1)
    trainer.reward_funcs = [lambda completions, **_: [0.1] * len(completions)]
    trainer.train()
    (entry,) = (e for e in trainer.state.log_history if "reward" in e)
    assert entry["frac_reward_zero_std"] == 1
    assert entry["share/low_entropy"] > 0.79
    assert entry["share/high_covariance"] == entry["covariance/top"] == 0


def test_the_terminal_and_the_page_say_so_too(tmp_path: Path) -> None:
    shares = (1.0, 0.25, 1.0, 0.0)
    steps = [
        {"step": i + 1, "stage": 0, "reward": 0.5, "entropy": 0.1, "kl": 0.0, "frac_reward_zero_std": share}
        for i, share in enumerate(shares)
    ]
    assert "  no spread 100%  " in step_line(steps[0], 4)
    assert "  no spread 25%  " in step_line(steps[1], 4)
    assert "  no spread -  " in step_line({"step": 1, "stage": 0}, 4)
    config = yaml.safe_dump(dump_config(load_config("quickstart", [])))
    (tmp_path / "run.yaml").write_text(config, encoding="utf-8")
    (tmp_path / "training").mkdir()
    lines = "".join(json.dumps(step) + "\n" for step in steps)
    (tmp_path / "training" / "metrics.jsonl").write_text(lines, encoding="utf-8")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "2 of 4 steps had no spread of rewards in any group" in page
    assert "On average 56 % of the groups of a step have none" in page


def test_every_update_of_a_rollout_knows_its_spread(tmp_path: Path) -> None:
    """TRL logs it at the first update of a rollout only."""
    seen: list[Any] = []
    trainer = ours(tmp_path, method="grpo", num_iterations=2, max_steps=4)
    trainer.add_callback(MetricsFile(tmp_path / "metrics.jsonl", trainer, lambda m, _: seen.append(m["frac_reward_zero_std"])))
    trainer.train()
    first, second = logged(trainer, "frac_reward_zero_std")
    assert seen == [first, first, second, second]
