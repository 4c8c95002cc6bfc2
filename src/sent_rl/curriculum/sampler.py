"""Walks the stages in order, shuffled inside a stage, and can go on where it was."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any


class StageSampler:
    """Yields problem indices batch after batch: all batches of stage 0, then of stage 1, and so on.

    Inside a stage the problems are shuffled anew for every pass. No batch mixes stages: a stage gives whole batches, and where the
    last pass over it leaves less than one, the remainder is dropped. The order depends on the arguments alone, so that ``state_dict``
    is a cursor.

    Args:
        stage: (N,) the stage of each problem; stages follow each other in the order of their numbers.
        batch_size: problems a batch.
        passes: how often every stage is gone through, where ``batches`` is not given.
        batches: how many batches in all; a stage gets a share in proportion to its size, at least one, and repeats its problems as
            often as that takes.
        multiple_of: each stage's number of batches is a multiple of this: ``passes`` are rounded down to one, but to one at least, and
            ``batches`` are rounded up in all.

    Raises:
        ValueError: a stage that is no whole number, or smaller than one batch, or fewer batches than stages.
    """

    def __init__(
        self,
        stage: Sequence[int],
        batch_size: int,
        *,
        passes: int = 1,
        batches: int | None = None,
        multiple_of: int = 1,
        seed: int = 0,
    ) -> None:
        if not stage or any(isinstance(s, bool) or not isinstance(s, int) for s in stage):
            raise ValueError("every problem needs a stage, a whole number")
        self.members = [[i for i, s in enumerate(stage) if s == number] for number in sorted(set(stage))]
        self.batch_size = batch_size
        self.seed = seed
        self.position = 0
        smallest = min(len(members) for members in self.members)
        if smallest < batch_size:
            raise ValueError(f"a stage has {smallest} problems, fewer than the {batch_size} of one batch")
        if batches is None:
            units = [max(1, len(members) * passes // batch_size // multiple_of) for members in self.members]
        else:
            units = self._shares(-(-batches // multiple_of))
        self.batches = [multiple_of * u for u in units]

    def _shares(self, count: int) -> list[int]:
        """``count`` split in proportion to the stages' sizes: running totals are rounded, so that the sum is exact; none gets nothing."""
        if count < len(self.members):
            raise ValueError(f"{count} rounds of batches are fewer than the {len(self.members)} stages")
        total = sum(map(len, self.members))
        ends = [0, *(round(count * done / total) for done in accumulate(map(len, self.members)))]
        shares = [end - start for start, end in pairwise(ends)]
        while 0 in shares:
            shares[shares.index(max(shares))] -= 1
            shares[shares.index(0)] += 1
        return shares

    def stage_of_batch(self, batch: int) -> int:
        """The stage that the batch of this number belongs to."""
        ends = list(accumulate(self.batches))
        return next((s for s, end in enumerate(ends) if batch < end), len(ends) - 1)

    def order(self) -> list[int]:
        """All indices, from the beginning."""
        indices: list[int] = []
        for number, (members, batches) in enumerate(zip(self.members, self.batches, strict=True)):
            rng = random.Random(f"{self.seed}/{number}")
            walk: list[int] = []
            while len(walk) < batches * self.batch_size:
                walk += rng.sample(members, len(members))
            indices += walk[: batches * self.batch_size]
        return indices

    def __len__(self) -> int:
        return sum(self.batches) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        order = self.order()
        while self.position < len(order):
            self.position += 1
            yield order[self.position - 1]
        self.position = 0

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = int(state["position"])
