"""A training run with TRL from its start to its end: stages, checkpoints, resuming, refusals; what TRL computes is in test_trl_contract."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from trl import GRPOConfig, TrlParser
from trl_helpers import SENT, logged, ours, settings, tasks, theirs, uneven_reward, weights

from sent_rl.errors import UserError
from sent_rl.methods import get
from sent_rl.models import EMBEDDED
from sent_rl.trainers.trl import SENTConfig, SENTTrainer

RESETS: list[list[str]] = [[], ["optimizer", "schedule", "reference"]]


@pytest.mark.parametrize("stage_reset", RESETS, ids=["continuous", "all reset"])
def test_resuming_gives_the_same_weights(tmp_path: Path, stage_reset: list[str]) -> None:
    """Three stages of two steps, cut inside the second stage and at its end."""
    shape: dict[str, Any] = {
        "method": SENT,
        "stage_reset": stage_reset,
        "max_steps": 6,
        "save_strategy": "steps",
        "save_steps": 1,
        "lr_scheduler_type": "linear",
    }
    whole = ours(tmp_path / "whole", tasks(24, stages=3), **shape)
    whole.train()
    for cut in (3, 4):
        again = ours(tmp_path / "whole", tasks(24, stages=3), **shape)
        again.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{cut}"))
        assert torch.equal(weights(again), weights(whole))
        assert len(again.losses) == 6 - cut
        assert again.losses == whole.losses[cut:]


def test_stages_are_walked_in_order_and_reset_what_they_should(tmp_path: Path) -> None:
    data = tasks(24, stages=3)
    stage_of = dict(zip(data["prompt"], data["stage"], strict=True))

    def run(name: str, stage_reset: list[str]) -> tuple[Any, list[list[int]]]:
        trainer = ours(
            tmp_path / name, data, method=SENT, stage_reset=stage_reset, num_train_epochs=2, max_steps=-1, lr_scheduler_type="linear"
        )
        seen: list[list[int]] = []
        original = trainer._generate_and_score_completions

        def recorded(inputs: list[dict[str, Any]]) -> Any:
            seen.append(sorted({stage_of[row["prompt"]] for row in inputs}))
            return original(inputs)

        trainer._generate_and_score_completions = recorded
        trainer.train()
        return trainer, seen

    kept, seen = run("kept", [])
    reset, _ = run("reset", ["schedule", "reference"])
    assert seen == [[0]] * 4 + [[1]] * 4 + [[2]] * 4
    assert kept.state.global_step == 12
    rates, again = logged(kept, "learning_rate"), logged(reset, "learning_rate")
    assert rates == sorted(rates, reverse=True)
    assert again[0:4] == again[4:8] == again[8:12]
    # at the first step of a stage the policy is the reference where that is reset
    assert [logged(reset, "kl")[i] for i in (0, 4, 8)] == pytest.approx([0, 0, 0], abs=1e-9)
    assert logged(kept, "kl")[8] > 1e-5


def test_an_online_curriculum_follows_the_rollouts_and_resumes(tmp_path: Path) -> None:
    data = tasks(24, stages=2).add_column("semantic_entropy", [i / 24 for i in range(24)])
    shape: dict[str, Any] = {"method": {**SENT, "name": "sent_online"}, "max_steps": 6, "save_strategy": "steps", "save_steps": 3}
    whole = ours(tmp_path / "w", data, **shape)
    whole.train()
    order = whole._order
    seen = {i for batch in order.drawn for i in batch}
    assert len(order.drawn) == 6
    # every problem that was trained on has the entropy of its last four answers, the others what they began with
    for i in range(24):
        values = {0.0, *(-sum(c / 4 * math.log(c / 4) for c in split) for split in ([3, 1], [2, 2], [2, 1, 1], [1] * 4))}
        measured = any(abs(order.entropies[i] - v) < 1e-9 for v in values)
        assert measured if i in seen else order.entropies[i] == i / 24
    again = ours(tmp_path / "w", data, **shape)
    again.train(resume_from_checkpoint=str(tmp_path / "w" / "checkpoint-3"))
    assert again._order.state_dict() == order.state_dict()
    assert torch.equal(weights(again), weights(whole))
    with pytest.raises(UserError, match="no column 'stage'"):
        ours(tmp_path / "n", method="sent_online")


def test_checkpoints_wait_for_the_end_of_a_rollout(tmp_path: Path) -> None:
    trainer = ours(
        tmp_path, method=SENT, max_steps=6, per_device_train_batch_size=8, steps_per_generation=2, save_strategy="steps", save_steps=3
    )
    trainer.train()
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-6"]


def test_evaluation_is_trls_own(tmp_path: Path) -> None:
    shape = {"max_steps": 1, "per_device_eval_batch_size": 8, "learning_rate": 0.0}
    truth = theirs(tmp_path / "a", **shape)
    truth.train()
    expected = truth.evaluate(tasks(4))
    found = ours(tmp_path / "b", method=SENT, **shape)
    found.train()
    assert found.evaluate(tasks(4))["eval_loss"] == expected["eval_loss"] != 0


def test_inert_settings_are_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no effect"):
        ours(tmp_path, method={"name": "sent", "anchor": "old"})
    with pytest.warns(UserWarning, match="below gradient_accumulation_steps"):
        ours(tmp_path, per_device_train_batch_size=4, steps_per_generation=1, gradient_accumulation_steps=2)


def test_what_cannot_work_is_refused(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_config(AutoModelForCausalLM.from_pretrained(EMBEDDED).config)
    model.config._name_or_path = ""
    with pytest.raises(UserError, match="save it with save_pretrained"):
        SENTTrainer(model, uneven_reward, SENTConfig(str(tmp_path), bf16=False, use_cpu=True), tasks())
    with pytest.raises(UserError, match="did you mean 'sent'"):
        SENTConfig(str(tmp_path), method="snt", bf16=False, use_cpu=True)
    with pytest.raises(UserError, match="did you mean 'optimizer'"):
        SENTConfig(str(tmp_path), stage_reset=["optimiser"], bf16=False, use_cpu=True)
    with pytest.raises(UserError, match="learning_rate"):
        SENTConfig(str(tmp_path), learning_rate=float("nan"), bf16=False, use_cpu=True)
    with pytest.raises(UserError, match="fewer stages"):
        ours(tmp_path, tasks(6, stages=3))


def test_the_command_line_parser_of_trl_takes_our_config(tmp_path: Path) -> None:
    for text, name in (("grpo", "grpo"), ('{"name": "sent", "beta_high": 0.5}', "sent")):
        arguments = ["--output_dir", str(tmp_path), "--use_cpu", "true", "--bf16", "false", "--method", text]
        (args,) = TrlParser((SENTConfig,)).parse_args_and_config(arguments)
        assert args.method["name"] == name
    (args,) = TrlParser((SENTConfig,)).parse_args_and_config(["--output_dir", str(tmp_path), "--use_cpu", "true", "--bf16", "false"])
    assert args.method == get("sent").model_dump()
    with pytest.raises(UserError, match="not JSON"):
        SENTConfig(str(tmp_path), method="{name: sent", bf16=False, use_cpu=True)


def test_configurations_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs a SENTConfig"):
        SENTTrainer(str(EMBEDDED), uneven_reward, GRPOConfig(str(tmp_path), bf16=False, use_cpu=True), tasks())
    with pytest.raises(UserError, match="cannot be put in order"):
        ours(tmp_path, tasks(24, stages=2).to_iterable_dataset())
    with pytest.raises(UserError, match="a whole number"):
        ours(tmp_path, tasks(24).add_column("stage", ["a"] * 24))
    with pytest.warns(UserWarning, match="training takes 6"):
        ours(tmp_path, tasks(24, stages=2), num_iterations=2, max_steps=5)


def test_restarted_schedules_keep_their_floor(tmp_path: Path) -> None:
    shape = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 5e-5}, "learning_rate": 1e-4, "max_steps": 6}
    trainer = ours(tmp_path, tasks(24, stages=2), stage_reset=["schedule"], **shape)
    trainer.train()
    rates = logged(trainer, "learning_rate")
    assert rates[:3] == rates[3:]
    assert all(5e-5 <= rate <= 1e-4 for rate in rates)
    assert rates[0] > rates[1] > rates[2]


def test_a_method_object_wins_over_the_config(tmp_path: Path) -> None:
    trainer = SENTTrainer(
        str(EMBEDDED),
        uneven_reward,
        SENTConfig(str(tmp_path), bf16=False, use_cpu=True, report_to="none", method="grpo"),
        tasks(),
        method=get("sent", beta_high=0.3),
    )
    assert trainer.method == get("sent", beta_high=0.3)
    assert trainer.args.method == trainer.method.model_dump()


def test_adapters_need_no_second_model(tmp_path: Path) -> None:
    """LoRA: the reference is the model with the adapter off."""
    from peft import LoraConfig

    trainer = SENTTrainer(
        str(EMBEDDED),
        uneven_reward,
        SENTConfig(**{**settings(tmp_path), "num_iterations": 2, "method": SENT}),
        tasks(),
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"]),
    )
    trainer.train()
    kl = logged(trainer, "kl")
    assert trainer.ref_model is None
    assert kl[0] == pytest.approx(0, abs=1e-9)
    assert kl[-1] > 0
