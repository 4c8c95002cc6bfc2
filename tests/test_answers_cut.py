r"""Responses that are cut before they give their answer earn nothing from the training reward."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sent_rl.answers import equivalent
from sent_rl.config import load_config
from sent_rl.evaluation.benchmarks import load_benchmark

SHARES = (50, 85, 95)
_STATED = re.compile(r"\\boxed|\\fbox|####|<answer>|^Answer:", re.MULTILINE)
WRITTEN = [
    ("18", "Janet sells 16 - 3 - 4 = 9 eggs a day.\nShe makes 9 * 2 = $18 every day.\nSo in all it is 18.\n#### 18"),
    ("5", "We have $x^2 = 25$, so $x = 5$ or $x = -5$. As $x > 0$, the answer is 5. Let me put it in a box. $\\boxed{5}$"),
    ("12", "There are 3 shelves with 4 books each. 3 times 4 is 12. That makes 12 books, so I answer 12.\nAnswer: 12"),
    (r"\frac{3}{4}", "The probability is $1 - \\frac{1}{4} = \\frac{3}{4}$. Hence the final answer is \\[ \\boxed{\\frac{3}{4}} \\]"),
    ("7", "<think>7 is prime. I think the answer is 7. #### 7? Yes, \\boxed{7}.</think> It is prime. <answer>7</answer>"),
    ("2", "Step by step: 8 / 4 = 2.\n\nThe final answer is: 2, which I write as **2** and then box: \\boxed{2}"),
    ("100", "**Solution.** First 10 * 10 = 100\n\n**Final answer**\n\n100 is what we want, that is \\fbox{100}"),
]


def cut(response: str) -> Iterator[str]:
    """The response at shares of its length, before the first of its stated answers."""
    said = response.rpartition("</think>")
    begin = len(response) - len(said[2])
    stated = _STATED.search(response, begin)
    end = stated.start() if stated else len(response)
    yield from (response[: min(end, len(response) * share // 100)] for share in SHARES)


@pytest.mark.parametrize(("gold", "response"), WRITTEN)
def test_a_response_that_was_cut_before_its_answer_is_not_paid(gold: str, response: str) -> None:
    read = load_config(None).answers.read_for_reward
    assert equivalent(gold, read(response))
    assert not any(equivalent(gold, read(text)) for text in cut(response))


@pytest.mark.parametrize("name", ["gsm8k", "math500"])
def test_reference_solutions_that_were_cut_are_not_paid(name: str, shared_data: Path) -> None:
    read = load_config(None).answers.read_for_reward
    problems = load_benchmark(name, shared_data)[:400]
    paid = [p.id for p in problems for text in cut(str(p.metadata["solution"])) if equivalent(p.golds, read(text), p.tolerance)]
    assert paid == []
    assert sum(equivalent(p.golds, read(str(p.metadata["solution"])), p.tolerance) for p in problems) == len(problems)
