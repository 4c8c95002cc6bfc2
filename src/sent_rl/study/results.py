"""The finished cells of a study: scores of every run, and what they say about the arms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sent_rl.errors import UserError
from sent_rl.evaluation import avg_at_k, pass_at_k
from sent_rl.evaluation.comparison import FTest, RunEstimate, Scores, difference, f_over_arms, holm
from sent_rl.study.config import StudyConfig

Cell = Mapping[str, Any]
"""What ``cell.json`` holds."""


class Comparison(NamedTuple):
    """An arm's difference to the baseline; ``holm``: its p-value, corrected over all arms."""

    difference: RunEstimate
    holm: float


@dataclass
class Study:
    """What the finished cells of a study say.

    ``scores[metric][arm]`` is (runs, questions), the runs in the order of ``cells[arm]``;
    ``base[metric]`` is (1, questions).
    """

    config: StudyConfig
    cells: dict[str, list[Cell]]
    scores: dict[str, dict[str, Scores]]
    base: dict[str, Scores]

    @property
    def arms(self) -> list[str]:
        return list(self.cells)

    @property
    def questions(self) -> int:
        return int(next(iter(self.base.values())).shape[1])

    @property
    def compared_metrics(self) -> list[str]:
        """The two that arms are compared in: Avg@K and the Pass@K with the largest K."""
        metrics = list(self.scores)
        return list(dict.fromkeys((metrics[0], metrics[-1])))

    def against_baseline(self, metric: str) -> dict[str, Comparison]:
        """Every other arm's difference to the baseline; none where the baseline has no run yet."""
        baseline = self.config.baseline
        others = [arm for arm in self.arms if arm != baseline and self._comparable(arm, baseline)]
        found = {arm: self._difference(metric, arm, baseline) for arm in others}
        adjusted = holm({arm: each.p for arm, each in found.items()})
        return {arm: Comparison(each, adjusted[arm]) for arm, each in found.items()}

    def f_test(self, metric: str) -> FTest:
        """Does any arm differ from any other?"""
        return f_over_arms(list(self.scores[metric].values()))

    def _comparable(self, arm: str, other: str) -> bool:
        """Whether both have finished runs; with the same seed, where runs are paired by it."""
        seeds = [{cell["seed"] for cell in self.cells.get(each, ())} for each in (arm, other)]
        return bool(seeds[0] & seeds[1]) if self.config.paired else bool(seeds[1])

    def _difference(self, metric: str, arm: str, other: str) -> RunEstimate:
        of = self.scores[metric]
        if not self.config.paired:
            return difference(of[arm], of[other])
        rows = [{cell["seed"]: i for i, cell in enumerate(self.cells[a])} for a in (arm, other)]
        seeds = [seed for seed in rows[0] if seed in rows[1]]
        own, others = (of[a][[row[s] for s in seeds]] for a, row in zip((arm, other), rows, strict=True))
        return difference(own, others, paired=True)


def collect_cells(config: StudyConfig, folder: Path) -> Study:
    """Read the finished cells of a study.

    Raises:
        UserError: there is none yet.
    """
    cells: dict[str, list[Cell]] = {}
    for arm in config.arms:
        done = read_cells(folder / "cells" / arm / f"seed-{seed}" / "cell.json" for seed in config.seeds)
        if done:
            cells[arm] = done
    if not cells or not (folder / "base.json").is_file():
        raise UserError(f"{folder}: no finished cell of study {config.name!r} yet")
    base = json.loads((folder / "base.json").read_text(encoding="utf-8"))
    metrics = metrics_of(config)
    scores = {m: scores_of(m, cells) for m in metrics}
    return Study(config, cells, scores, {m: _score(m, base)[None] for m in metrics})


def read_cells(paths: Iterable[Path]) -> list[Cell]:
    """Those of the cells that are finished."""
    return [json.loads(p.read_text(encoding="utf-8")) for p in paths if p.is_file()]


def metrics_of(config: StudyConfig) -> list[str]:
    """Avg@K for the largest K (it is one estimate for every K), and Pass@K for every K above 1."""
    ks = config.base().evaluate.k
    return [f"avg@{max(ks)}", *(f"pass@{k}" for k in ks if k > 1)]


def scores_of(metric: str, cells: Mapping[str, Iterable[Cell]]) -> dict[str, Scores]:
    """Arm -> (runs, questions)."""
    return {arm: np.stack([_score(metric, cell) for cell in done]) for arm, done in cells.items()}


def _score(metric: str, cell: Cell) -> Scores:
    kind, _, k = metric.partition("@")
    if kind == "avg":
        return avg_at_k(cell["n"], cell["correct"])
    return pass_at_k(cell["n"], cell["correct"], int(k))
