from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sent_rl.errors import UserError
from sent_rl.problems import arithmetic_problems
from sent_rl.problems.arithmetic import LARGEST_PRODUCT, LARGEST_VALUE, Expression, draw_expression, expressions, split_of


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_every_right_step_keeps_the_value(seed: int, operands: int) -> None:
    expression = draw_expression(random.Random(seed), operands)
    assert expression.value() == eval(str(expression))  # the text is ours: digits and + - * only
    while expression.operators:
        for position in range(len(expression.operators)):
            after = expression.apply(position)
            if position in expression.right_positions():
                assert eval(str(after)) == eval(str(expression))
        expression = expression.apply(expression.right_positions()[-1])


@pytest.mark.parametrize(("text", "positions"), [("1+2*3", [1]), ("1-2+3", [0]), ("1+2-3", [0, 1]), ("2*3*4", [0, 1]), ("1-2*3+4", [1])])
def test_forks(text: str, positions: list[int]) -> None:
    expression = Expression(tuple(map(int, text[::2])), tuple(text[1::2]))
    assert str(expression) == text
    assert expression.right_positions() == positions


def test_negative_numbers_are_bracketed_inside() -> None:
    assert str(Expression((4, 2, 9), ("+", "-")).apply(1)) == "4+(-7)"
    assert str(Expression((2, 9, 1), ("-", "+")).apply(0)) == "-7+1"


def test_limits() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        expression = draw_expression(rng, 5)
        assert expression.largest_product() <= LARGEST_PRODUCT
        assert abs(expression.value()) <= LARGEST_VALUE
    assert Expression((2, 3, 4, 5), ("*", "+", "*")).largest_product() == 20
    assert Expression((2, 3), ("+",)).largest_product() == 0


def test_problems_depend_on_seed_and_index_alone() -> None:
    few, many = arithmetic_problems([1, 2], 10, "train", seed=3), arithmetic_problems([1, 2], 40, "train", seed=3)
    assert few == many[:10]
    assert few != arithmetic_problems([1, 2], 10, "train", seed=4)
    assert [p.metadata["level"] for p in few[:4]] == [1, 2, 1, 2]


def test_splits_share_nothing_whatever_the_seed() -> None:
    train = {p.prompt for seed in range(3) for p in arithmetic_problems([1], 1500, "train", seed)}
    test = {p.prompt for seed in range(3) for p in arithmetic_problems([1], 1000, "test", seed)}
    assert not train & test
    assert all(split_of(e) == "pretrain" for e, _ in zip(expressions(1, "pretrain", 0), range(50), strict=False))


def test_problems_are_distinct() -> None:
    problems = arithmetic_problems([1, 2, 3], 2000, "train")
    assert len({p.prompt for p in problems}) == len({p.id for p in problems}) == 2000


def test_asking_for_too_much() -> None:
    with pytest.raises(UserError, match="level 1 has only"):
        arithmetic_problems([1], 5000, "train")
    with pytest.raises(UserError, match="levels go from 0 to 4"):
        arithmetic_problems([7], 5)
    with pytest.raises(UserError, match="levels"):
        arithmetic_problems([], 5)
