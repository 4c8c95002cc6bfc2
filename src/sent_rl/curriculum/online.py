"""A curriculum that follows the policy: stages by what the training rollouts themselves say about each problem."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from sent_rl.curriculum.sampler import StageSampler


class OnlineStages(Sequence[int]):
    """The order of a :class:`StageSampler`, but each batch is drawn when it is asked for, from problems ranked by their latest entropies.

    Stage s of the plan keeps its number of batches and its share of the problems; which problems those are is decided anew at every
    batch: all problems are ranked by semantic entropy, and the batch comes from the ranks that stage s has. Of these the least often drawn
    are taken, ties at random by seed. Reads like the list of all indices; batches that were drawn are remembered, so that reading again,
    or resuming from ``state_dict``, gives the same.

    Args:
        plan: sizes of the stages and numbers of batches.
        entropies: (N,) semantic entropies to start from, nats.
        smoothing: weight of a new estimate; 1 forgets the old one.
    """

    def __init__(self, plan: StageSampler, entropies: Sequence[float], smoothing: float = 1.0) -> None:
        self.plan, self.smoothing = plan, smoothing
        self.entropies = list(entropies)
        self.visits = [0] * len(self.entropies)
        self.drawn: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        if not 0 <= position < len(self):
            raise IndexError(position)
        batch, place = divmod(position, self.plan.batch_size)
        while len(self.drawn) <= batch:
            self.drawn.append(self._draw(len(self.drawn)))
        return self.drawn[batch][place]

    def _draw(self, batch: int) -> list[int]:
        stage = self.plan.stage_of_batch(batch)
        start = sum(len(members) for members in self.plan.members[:stage])
        ranked = sorted(range(len(self.entropies)), key=lambda i: (self.entropies[i], i))
        pool = ranked[start : start + len(self.plan.members[stage])]
        rng = random.Random(f"{self.plan.seed}/online/{batch}")
        rng.shuffle(pool)
        chosen = sorted(pool, key=lambda i: self.visits[i])[: self.plan.batch_size]
        for i in chosen:
            self.visits[i] += 1
        return chosen

    def update(self, entropies: Mapping[int, float]) -> None:
        """New estimates, by problem index; they count for batches that are drawn from now on."""
        for i, value in entropies.items():
            self.entropies[i] += self.smoothing * (value - self.entropies[i])

    def state_dict(self) -> dict[str, Any]:
        return {"entropies": self.entropies, "visits": self.visits, "drawn": self.drawn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.entropies, self.visits, self.drawn = (list(state[key]) for key in ("entropies", "visits", "drawn"))
