"""What the driver does with a step: padding rows, draws, resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transfer_queue
import verl.trainer.ppo.padding_utils
from omegaconf import OmegaConf
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.padding_utils import upsample_batch_to_divisible_size
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl_driver import Queue, row, submit, trainer

from sent_rl.errors import UserError
from sent_rl.files import write_json
from sent_rl.methods import get
from sent_rl.trainers.verl.curriculum import staged_indices
from sent_rl.trainers.verl.loss import KL_COEF
from sent_rl.trainers.verl.trainer import SENTTrainer

METHOD = get("sent_online")
ROWS = [{"index": i, "stage": 0, "semantic_entropy": 1.0} for i in range(4)]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    """In the place of TransferQueue. verl's own advantages are taken to be computed already."""
    found = Queue()
    for module in (transfer_queue, verl.trainer.ppo.padding_utils.tq):
        monkeypatch.setattr(module, "kv_batch_put", found.kv_batch_put)
        monkeypatch.setattr(module, "kv_batch_get", found.kv_batch_get)
    monkeypatch.setattr(PPOTrainerSync, "_compute_advantage", lambda self, batch, metrics: batch)
    return found


def step(queue: Queue, answers: list[list[str]], turn: int = 0) -> KVBatchMeta:
    """A step with these answers to problems 0, 1, ..."""
    rng = torch.Generator().manual_seed(0)
    texts = [(i, f"So it is \\boxed{{{a}}}") for i, group in enumerate(answers) for a in group]
    return submit(queue, [row(index, text, rng) for index, text in texts], turn)


def online() -> SENTTrainer:
    found = trainer(METHOD)
    found.staged = staged_indices(ROWS, METHOD, 1, 1, None, 0)
    return found


def entropies(found: SENTTrainer) -> list[float]:
    assert found.staged is not None
    assert found.staged.online is not None
    return found.staged.online.entropies


def test_padding_rows_are_no_answers(queue: Queue) -> None:
    batch = step(queue, [["7"] * 8, ["1", "2"] * 4])
    padded = upsample_batch_to_divisible_size(batch, 10, eos_token_id=0)
    assert [tag.get("is_padding", False) for tag in padded.tags] == [False] * 16 + [True] * 4
    assert queue.rows[padded.keys[-1]]["extra_info"] == {"index": 0}  # verl copies the first row
    found, metrics = online(), dict[str, Any]()
    found._compute_advantage(padded, metrics)
    two = torch.tensor(2.0).log().item()
    assert entropies(found) == pytest.approx([0.0, two, 1.0, 1.0])
    assert metrics["sent/semantic_entropy"] == pytest.approx(two / 2)


def test_only_the_last_row_of_a_session_has_its_answer(queue: Queue) -> None:
    first, last = step(queue, [["5", "6", "7", "8"]]), step(queue, [["9"] * 4], turn=1)
    both = KVBatchMeta(last.keys + first.keys, last.tags + first.tags, "train")
    found = online()
    found._compute_advantage(both, {})
    assert entropies(found)[0] == 0.0


def test_padding_rows_change_no_treatment(queue: Queue) -> None:
    batch = step(queue, [["7"] * 8, ["1", "2"] * 4])
    metrics: list[dict[str, Any]] = [{}, {}]
    trainer(get("sent"))._compute_advantage(batch, metrics[0])
    treated = [queue.rows[key][KL_COEF].clone() for key in batch.keys]
    batch = step(queue, [["7"] * 8, ["1", "2"] * 4])  # advantages as they were
    padded = upsample_batch_to_divisible_size(batch, 10, eos_token_id=0)
    trainer(get("sent"))._compute_advantage(padded, metrics[1])
    assert metrics[0] == metrics[1]
    assert metrics[0]["sent/tokens"] == 16 * len("So it is \\boxed{7}")
    for key, values in zip(batch.keys, treated, strict=True):
        torch.testing.assert_close(queue.rows[key][KL_COEF], values, rtol=0, atol=0)
    assert not any(queue.rows[key][KL_COEF].any() for key in padded.keys[16:])


def test_workers_are_told_the_step_where_they_treat(queue: Queue) -> None:
    found = trainer(get("clip_cov", scope="micro_batch"))
    found.global_steps = 12
    batch = found._compute_advantage(step(queue, [["1"] * 2]), {})
    assert batch.extra_info["sent_step"] == 12


def resumed(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> SENTTrainer:
    """A trainer that verl resumed at step 3."""

    def load(self: SENTTrainer) -> None:
        self.global_steps = 3

    monkeypatch.setattr(PPOTrainerSync, "_load_checkpoint", load)
    settings = {"resume_mode": "auto", "default_local_dir": str(folder), **changes}
    found = trainer(get(name), OmegaConf.create({"trainer": settings}))
    found._load_checkpoint()
    return found


def test_a_state_that_is_missing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("clip_cov", "sent_adaptive"):
        with pytest.raises(UserError, match=rf"sent_state.json: holds no state of method '{name}'"):
            resumed(name, tmp_path, monkeypatch)
    write_json(tmp_path / "global_step_3" / "sent_state.json", {"method": {}})  # of another method
    with pytest.raises(UserError, match="resume a checkpoint of the same method"):
        resumed("sent_adaptive", tmp_path, monkeypatch)
    assert not resumed("sent", tmp_path, monkeypatch).method_state


def test_the_state_is_that_of_the_checkpoint_that_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "other" / "global_step_3"
    write_json(elsewhere / "sent_state.json", {"method": {"step": 5.0}})
    named = {"resume_mode": "resume_path", "resume_from_path": str(elsewhere)}
    found = resumed("clip_cov", tmp_path / "here", monkeypatch, **named)
    assert found.method_state == {"step": 5.0}
