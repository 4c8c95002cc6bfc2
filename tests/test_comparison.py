from __future__ import annotations

import itertools

import numpy as np
import pytest

from sent_rl.evaluation.comparison import difference, holm, interval, sign_flip_p


def draw(rng: np.random.Generator, seeds: int, questions: int, seed_spread: float, difficulty: np.ndarray | None = None) -> np.ndarray:
    """Scores with a question effect and a seed effect around 0.5."""
    of_question = rng.normal(0, 0.2, questions) if difficulty is None else difficulty
    return 0.5 + of_question + rng.normal(0, seed_spread, (seeds, 1)) + rng.normal(0, 0.1, (seeds, questions))


def test_intervals_cover_as_often_as_they_say() -> None:
    """Five seeds are few: a bootstrap over them is a little too narrow, and the docs say so."""
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        low, high = interval(draw(rng, 5, 80, 0.02), draws=400, seed=trial)
        hits += low <= 0.5 <= high
    assert 0.88 <= hits / 300 <= 0.99


def test_questions_in_common_cancel() -> None:
    rng = np.random.default_rng(1)
    difficulty = rng.normal(0, 0.3, 200)
    a, b = draw(rng, 5, 200, 0.0, difficulty) + 0.03, draw(rng, 5, 200, 0.0, difficulty)
    d = difference(a, b)
    assert d.low < 0.03 < d.high
    assert d.high - d.low < 0.04  # alone, each mean is uncertain by about 0.08
    assert d.p < 0.01
    with pytest.raises(ValueError, match="cannot be compared"):
        difference(a, b[:, :10])


def test_sign_flips_against_all_of_them() -> None:
    differences = np.array([0.3, -0.1, 0.2, 0.25, 0.05, 0.0, 0.4, -0.05])
    observed = abs(differences.sum())
    flips = [abs((np.array(signs) * differences).sum()) for signs in itertools.product((-1, 1), repeat=8)]
    truth = np.mean([f >= observed - 1e-12 for f in flips])
    assert sign_flip_p(differences, 20_000, np.random.default_rng(0)) == pytest.approx(truth, abs=0.01)
    assert sign_flip_p(np.zeros(5), 100, np.random.default_rng(0)) == 1.0


def test_false_alarms_are_as_rare_as_they_should_be() -> None:
    rng = np.random.default_rng(2)
    p = [difference(draw(rng, 3, 60, 0.0), draw(rng, 3, 60, 0.0), draws=200, seed=i).p for i in range(300)]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.09


def test_holm() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
    assert holm({}) == {}
