"""What the online curriculum reads in the responses of a step."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sent_rl.trainers.verl.trainer import SENTTrainer

WORDS = {0: "#### ", 1: "", 6: "1", 7: "2"}  # 1 ends a response


def test_responses_that_are_cut_off_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that end with the same answer, and two that were cut off inside it."""
    rows = [[0, 6, 1], [0, 6, 1], [0, 6, 7, 6], [0, 6, 7, 6]]
    responses = torch.nested.nested_tensor([torch.tensor(row) for row in rows], layout=torch.jagged)
    data = {"responses": responses, "extra_info": [{"index": i // 2} for i in range(4)]}
    monkeypatch.setattr("transfer_queue.kv_batch_get", lambda **_: data)
    found: dict[int, float] = {}
    trainer: Any = SimpleNamespace(
        staged=SimpleNamespace(place={0: 0, 1: 1}, online=found),
        tokenizer=SimpleNamespace(batch_decode=lambda ids, **_: ["".join(WORDS[token] for token in row) for row in ids], eos_token_id=1),
        config=SimpleNamespace(data=SimpleNamespace(max_response_length=4)),
        sent=SimpleNamespace(extract=["hash"], thoughts=False, unparsed="separate"),
        opened=False,
    )
    batch = SimpleNamespace(keys=[f"{i}_0_0" for i in range(4)], partition_id="train", tags=[{}] * 4)
    metrics: dict[str, Any] = {}
    SENTTrainer._update_curriculum(trainer, batch, metrics)
    assert found == {0: 0.0, 1: pytest.approx(math.log(2))}
    assert metrics["sent/semantic_entropy"] == pytest.approx(math.log(2) / 2)
