"""How large a difference a study can see."""

from __future__ import annotations

import math

import numpy as np
import pytest
from study_helpers import committed, simulations

from sent_rl.evaluation.comparison import difference
from sent_rl.evaluation.power import Spread, detectable, power, runs_needed, spread
from sent_rl.study import collect_cells, load_study
from sent_rl.study.power import ARITHMETIC


def test_power_against_a_published_table() -> None:
    """Two-sided, 5 %, 80 % power, standardised differences: 393.4, 63.8, 25.5, 16.7 in R's power.t.test."""
    for effect, runs in ((0.2, 394), (0.5, 64), (0.8, 26), (1.0, 17)):
        assert runs_needed(effect, 1.0) == runs
        assert power(effect, 1.0, runs) >= 0.8 > power(effect, 1.0, runs - 1)


def test_a_detectable_difference_is_found_in_four_of_five_studies() -> None:
    world, rng = committed(), np.random.default_rng(0)
    shift = detectable(math.hypot(world.run, world.run_question / math.sqrt(512)), 5)
    found = [difference(a + shift, b).p < 0.05 for a, b in (world.draw(rng, 2, 5, 512) for _ in range(400))]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)
    assert detectable(0.02, 5, 15) > detectable(0.02, 5)
    assert detectable(0.02, 5, paired=True) > detectable(0.02, 5)  # fewer degrees of freedom
    assert math.isnan(detectable(0.02, 1))
    assert detectable(0.0, 2) == 0
    assert runs_needed(1e-4, 1.0) is None


def test_spread_finds_what_was_drawn() -> None:
    world = simulations().World(run=0.03, run_question=0.2, question=0.25)
    found = spread(world.draw(np.random.default_rng(0), 100, 4, 100))
    assert found == pytest.approx(Spread(0.03, 0.2), rel=0.1)
    assert found is not None
    assert found.of_mean(100) == pytest.approx(math.hypot(found.run, found.question / 10))
    assert spread([np.zeros((1, 4))]) is None


def test_what_is_reckoned_with_before_any_run_is_the_committed_studys() -> None:
    tools = simulations()
    study = collect_cells(load_study("arithmetic"), tools.COMMITTED)
    for metric in study.compared_metrics:
        measured = spread(study.scores[metric].values())
        assert measured == pytest.approx(ARITHMETIC[metric.partition("@")[0]], rel=0.005)
