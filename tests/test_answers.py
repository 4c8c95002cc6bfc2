from __future__ import annotations

import itertools

import pytest

from sent_rl.answers import canonical, cluster, equivalent, extract
from sent_rl.errors import UserError


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{1} or rather \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"an unclosed \boxed{3 after \boxed{7}", "7"),
        ("3+8\n#### 11", "11"),
        ("#### 1\nmore\n#### 2 ", "2"),
        ("####", None),
        ("The sum is known.\nAnswer: 42", "42"),
        ("it takes 3 days and 1,250 dollars", "1,250"),
        ("The answer is 5, so done.", "5"),
        ("between 12,345 and 1,2", "2"),
        ("no idea", None),
        ("", None),
    ],
)
def test_extract(text: str, answer: str | None) -> None:
    assert extract(text) == answer


def test_strategies_are_tried_in_order() -> None:
    assert extract("#### 4\nAnswer: 5", ["answer_line", "hash"]) == "5"
    assert extract("7\n2+2=4", ["first_line"]) == "7"
    assert extract("7", ["hash"]) is None
    with pytest.raises(UserError, match="did you mean 'boxed'"):
        extract("7", ["boxd"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0.5", r"\frac{1}{2}"),
        ("1,000", "1000.0"),
        ("$ 12 $", "12."),
        ("-4", "- 4"),
        ("3/6", r"\dfrac{1}{2}"),
        (r"\text{yes}", "yes"),
        ("+7", "007"),
        (r"\left( 1, 2 \right)", "(1,2)"),
        ("**5**", "5"),
        (r"\frac{x}{2}", "x/2"),
        ("1,234,567.50", "1234567.5"),
    ],
)
def test_same(one: str, other: str) -> None:
    assert equivalent(one, other)
    assert equivalent(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "-1"),
        ("1/0", "1"),
        ("12", "1,2"),
        ("x", "y"),
        ("0.33", "1/3"),
        ("1", None),
        ("5*", "5"),
        (r"\frac{x+1}{2}", "x+1/2"),
        (r"\frac{1}{x+1}", "1/x+1"),
        ("3 1/2", "31/2"),
        ("1 2", "12"),
        ("(1,234)", "(1234)"),
    ],
)
def test_different(one: str, other: str | None) -> None:
    assert not equivalent(one, other)


def test_long_digits_stay_text() -> None:
    digits = "9" * 100_000
    assert canonical(digits) == digits


def test_clusters_do_not_depend_on_order() -> None:
    answers = ["1", "2/2", None, "x", "1.0", None]
    assert cluster(answers) == [0, 0, None, 1, 0, None]

    def partition(order: tuple[int, ...]) -> set[frozenset[int]]:
        numbers = cluster([answers[i] for i in order])
        return {frozenset(i for i, n in zip(order, numbers, strict=True) if n == number) for number in set(numbers)}

    assert len({frozenset(partition(order)) for order in itertools.permutations(range(6))}) == 1
