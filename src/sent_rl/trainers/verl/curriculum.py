"""The curriculum as a sampler for verl's stateful data loader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import Sampler

from sent_rl.curriculum import OnlineStages, StageSampler
from sent_rl.methods import Method

STAGE, ENTROPY = "stage", "semantic_entropy"
"""Keys of a row's ``extra_info``."""


class StagedIndices(Sampler[int]):
    """Indices stage after stage, shuffled inside a stage; or, for an online curriculum, each batch drawn when it is asked for.

    The data loader saves and loads its position, and with it what an online curriculum knows.
    """

    def __init__(self, stages: StageSampler, online: OnlineStages | None = None, indices: Sequence[Any] = ()) -> None:
        self.stages, self.online = stages, online
        self.place = {index: place for place, index in enumerate(indices)}
        """Of a row in the data set, by its ``extra_info.index``; verl may have left out long prompts before it."""
        self.order: Sequence[int] = stages.order() if online is None else online
        self.position = 0

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        while self.position < len(self.order):
            self.position += 1
            yield self.order[self.position - 1]
        self.position = 0

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "online": None if self.online is None else self.online.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = int(state["position"])
        if self.online is not None:
            self.online.load_state_dict(state["online"])


def extra_infos(dataset: Any) -> list[Any]:
    """``extra_info`` of every row of verl's data set; none where it has no such column, or is of another kind."""
    table = getattr(dataset, "dataframe", None)
    return list(table["extra_info"]) if table is not None and "extra_info" in table.column_names else []


def is_staged(rows: Sequence[Any]) -> bool:
    """Whether the rows' ``extra_info`` has stages."""
    return bool(rows) and isinstance(rows[0], dict) and rows[0].get(STAGE) is not None


def finished(responses: Sequence[Tensor], longest: int, end: int) -> list[bool]:
    """Which responses ended by themselves.

    verl's engines give the same reason to stop in both cases, so length tells, as in its own
    ``response_length/clip_ratio``; one that ends exactly at the limit is known by its last token.

    Args:
        responses: token ids of each, (T_i,), without padding.
        longest: ``data.max_response_length``.
        end: the tokenizer's end-of-text token.
    """
    return [len(row) < longest or int(row[-1]) == end for row in responses]


def staged_indices(
    rows: Sequence[dict[str, Any]], method: Method, batch_size: int, passes: int, steps: int | None, seed: int
) -> StagedIndices:
    """The sampler of a data set whose rows' ``extra_info`` are ``rows``.

    Args:
        steps: training steps in all, shared out among the stages; None for ``passes`` over each stage.
    """
    stages = StageSampler([int(row[STAGE]) for row in rows], batch_size, passes=passes, batches=steps, seed=seed)
    if not method.online_curriculum:
        return StagedIndices(stages)
    entropies = [float(row.get(ENTROPY) or 0.0) for row in rows]
    online = OnlineStages(stages, entropies, getattr(method, "smoothing", 1.0))
    return StagedIndices(stages, online, [row.get("index", place) for place, row in enumerate(rows)])


def final_rows(keys: Sequence[str], tags: Sequence[Mapping[str, Any]]) -> list[int]:
    """The rows of a batch whose responses are answers to its problems.

    Rows that verl appends to make the batch divisible (tag ``is_padding``) are copies of a real row
    with an empty response. An agent may leave several rows, and the last one has its answer.

    Args:
        keys: ``{prompt}_{session}_{index}`` of every row, as verl's agent loop numbers them.
    """
    last: dict[str, tuple[int, int]] = {}
    for row, (key, tag) in enumerate(zip(keys, tags, strict=True)):
        if tag.get("is_padding", False):
            continue
        session, _, index = key.rpartition("_")
        last[session] = max(last.get(session, (-1, row)), (int(index), row))
    return [row for _, row in last.values()]
