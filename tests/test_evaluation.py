from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sent_rl.evaluation import avg_at_k, estimate, pass_at_k, results


@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    right = [i < c for i in range(n)]
    subsets = list(itertools.combinations(right, k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_takes_arrays() -> None:
    assert pass_at_k(32, [0, 1, 32], 32) == pytest.approx([0, 1, 1])
    assert pass_at_k([4, 8], [1, 1], 2) == pytest.approx([0.5, 0.25])
    assert avg_at_k(4, [0, 1]) == pytest.approx([0, 0.25])
    assert avg_at_k(4, [0, 1], 2) == pytest.approx([0, 0.25])
    assert pass_at_k(1000, 3, 500) == pytest.approx(1 - math.comb(997, 500) / math.comb(1000, 500))


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 5, 2), (4, -1, 2), (4, 1, 0)])
def test_pass_at_k_refuses_nonsense(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of the two messages
        pass_at_k(n, c, k)


def test_estimate_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        found = estimate(rng.beta(0.4, 0.6, size=60))
        hits += abs(found.value - 0.4) <= found.half_width
    assert 0.93 < hits / 2000 < 0.97
    assert math.isnan(estimate([0.5]).stderr)


def rows(model: str, verdicts: dict[str, list[bool]]) -> list[dict[str, object]]:
    return [
        {
            "model": model,
            "problem": q,
            "sample": i,
            "correct": v,
            "tokens": 3,
            "finished": True,
            "verdict": "same" if v else "different",
            "answer": "1" if v else None,
        }
        for q, vs in verdicts.items()
        for i, v in enumerate(vs)
    ]


def test_results() -> None:
    table = rows("base", {"a": [True, False], "b": [False, False]}) + rows("trained", {"b": [True, False], "a": [True, True]})
    found = results(table, [1, 2])
    assert found["n"] == 2
    assert found["problems"] == 2
    assert found["models"]["base"]["avg@1"] == {"value": 0.25, "stderr": pytest.approx(0.25)}
    assert found["models"]["trained"]["pass@2"]["value"] == 1.0
    # paired: both questions gained 0.5, so the difference has no spread although each model has
    assert found["differences"]["trained - base"]["avg@1"] == {"value": 0.5, "stderr": 0.0}
    assert found["rates"]["base"]["unparsed"] == 0.75
    with pytest.raises(ValueError, match="same"):
        results(table + rows("other", {"c": [True, True]}), [1])


def test_clustered_errors_are_plain_ones_where_every_question_is_a_group_of_its_own() -> None:
    values = np.random.default_rng(0).random(40)
    plain, clustered = estimate(values), estimate(values, [str(i) for i in range(40)])
    assert clustered.value == plain.value
    assert clustered.stderr == pytest.approx(plain.stderr, rel=1e-12)


def test_questions_that_say_the_same_count_once() -> None:
    """Every question asked three times: the clustered error is that of the questions asked once, the plain one is too small."""
    once = np.random.default_rng(1).random(30)
    thrice = np.repeat(once, 3)
    groups = [str(i) for i in np.repeat(np.arange(30), 3)]
    assert estimate(thrice, groups).stderr == pytest.approx(estimate(once).stderr, rel=1e-12)
    assert estimate(thrice).stderr < 0.6 * estimate(once).stderr


def test_clustered_intervals_cover_the_truth() -> None:
    """Groups of four that share half of their variance; 95 % intervals by the clustered error hold the mean about so often."""
    rng, hits, hits_plain = np.random.default_rng(2), 0, 0
    for _ in range(400):
        shared = np.repeat(rng.normal(size=50), 4)
        values = shared + rng.normal(size=200)
        groups = [str(i) for i in np.repeat(np.arange(50), 4)]
        hits += abs(values.mean()) <= estimate(values, groups).half_width
        hits_plain += abs(values.mean()) <= estimate(values).half_width
    assert 0.91 <= hits / 400 <= 0.98
    assert hits_plain / 400 < 0.87


def test_a_single_group_has_no_error() -> None:
    assert math.isnan(estimate([0.0, 1.0], ["a", "a"]).stderr)
