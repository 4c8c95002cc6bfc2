"""The trainer's own steps on the driver, without Ray: a TransferQueue in memory, real batches."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from tensordict import NonTensorStack, TensorDict
from torch import Tensor
from transfer_queue import KVBatchMeta
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from sent_rl.methods import Method
from sent_rl.trainers.verl.config import SENTPolicyLossConfig
from sent_rl.trainers.verl.trainer import SENTTrainer


class Queue:
    """Rows by key, as verl reads and writes them."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.tags: dict[str, dict[str, Any]] = {}

    def kv_batch_put(self, keys: list[str], partition_id: str, fields: TensorDict, tags: Any = None) -> KVBatchMeta:
        for i, key in enumerate(keys):
            row = {name: fields[name][i] for name in fields.keys()}  # noqa: SIM118
            self.rows.setdefault(key, {}).update(row)
            self.tags.setdefault(key, {}).update(tags[i] if tags else {})
        return KVBatchMeta(keys, [self.tags[key] for key in keys], partition_id)

    def kv_batch_get(self, keys: list[str], partition_id: str, select_fields: list[str] | None = None) -> TensorDict:
        found = TensorDict({}, batch_size=len(keys))
        for name in select_fields or list(self.rows[keys[0]]):
            values = [self.rows[key][name] for key in keys]
            if isinstance(values[0], Tensor):
                found[name] = torch.nested.as_nested_tensor(values, layout=torch.jagged)
            else:
                found[name] = NonTensorStack(*values)
        return found


class Characters:
    """A tokenizer whose tokens are characters."""

    eos_token_id = 0

    def batch_decode(self, rows: list[list[int]], skip_special_tokens: bool) -> list[str]:
        assert skip_special_tokens
        return ["".join(chr(token) for token in row if token) for row in rows]


def row(index: int, text: str, rng: torch.Generator) -> dict[str, Any]:
    """A response with what verl has of it once advantages are computed."""
    tokens = torch.tensor([ord(letter) for letter in text])

    def values() -> Tensor:
        return torch.rand(len(tokens), generator=rng)

    return {
        "prompts": torch.ones(3, dtype=torch.long),
        "responses": tokens,
        "response_mask": torch.ones_like(tokens),
        "extra_info": {"index": index},
        "old_log_probs": -values(),
        "entropy": values(),
        "advantages": values() - 0.5,
    }


def submit(queue: Queue, rows: list[dict[str, Any]], turn: int = 0) -> KVBatchMeta:
    """The rows of one step, with the keys that verl gives them."""
    keys = [f"prompt{row['extra_info']['index']}_{i}_{turn}" for i, row in enumerate(rows)]
    tags = [{"seq_len": 3 + len(row["responses"])} for row in rows]
    return queue.kv_batch_put(keys, "train", list_of_dict_to_tensordict(rows), tags)


def trainer(method: Method, config: DictConfig | None = None) -> SENTTrainer:
    """A trainer with nothing but what its steps on the driver read."""
    found = object.__new__(SENTTrainer)
    found.config = OmegaConf.create({"data": {"max_response_length": 100}}) if config is None else config
    found.method, found.method_state, found.staged = method, None, None
    found.sent = SENTPolicyLossConfig(method=method.name)
    found.global_steps, found.tokenizer, found.opened = 1, Characters(), False
    return found
