"""Verdicts under stress: hostile answers, threads, forks, dead judges; and values against Python's own arithmetic."""

from __future__ import annotations

import itertools
import math
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sent_rl.answers import cluster, equivalence, equivalent, verdict
from sent_rl.answers.expression import evaluate
from sent_rl.answers.guard import Guard
from sent_rl.answers.scalars import NotUnderstood

HOSTILE = [
    "9^{9^{9}}",
    "(10^9)!",
    "((((9!)!)!)!)!",
    "(" * 2000 + "1" + ")" * 2000,
    "7" * 100_000,
    r"\frac{1}{" * 400 + "2" + "}" * 400,
    r"\frac{\frac{" * 9,
    r"\sum_{k=1}^{1000000000} \frac{1}{k^3}",
    r"\prod_{k=1}^{100000000} (1 + \frac{1}{k})",
    r"\int_0^2 e^{e^{x^3}} \sin(x^x) dx",
    "x" + "^x" * 200,
    "-" * 1500 + "1",
    "|" * 999,
    "1e999999999",
    "2^{-10^{12}}",
    "\x00\u202e}{" * 300,
    r"\begin{pmatrix}" * 50,
    "{" * 1000,
    "",
]


@pytest.fixture
def small_guard(monkeypatch: pytest.MonkeyPatch) -> Guard:
    """A guard of this test's own."""
    guard = Guard(2)
    monkeypatch.setattr(equivalence, "_guard", guard)
    equivalence._remembered.cache_clear()
    return guard


def test_hostile_answers_get_a_verdict_or_none_and_soon(small_guard: Guard) -> None:
    started = time.process_time()
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda answer: verdict("x^2 + 1", answer), HOSTILE))
    assert set(verdicts) <= {"different", "none"}
    assert verdicts[:3] == ["none"] * 3
    assert time.process_time() - started < 5  # this process does little itself
    assert verdict("x^2 + 1", r"1 + x \cdot x") == "same"
    small_guard.close()


def test_gold_answers_may_be_hostile_too() -> None:
    assert [verdict(gold, "5") for gold in HOSTILE[:3]] == ["none"] * 3


def test_a_judge_that_died_is_replaced(small_guard: Guard) -> None:
    assert small_guard.ask(r"\int_0^1 x dx", "1/2").outcome == "same"
    small_guard.idle[0].process.kill()
    small_guard.idle[0].process.wait()
    assert small_guard.ask(r"\int_0^1 x dx", "1/2").outcome == "same"
    small_guard.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_judges_of_its_own(small_guard: Guard) -> None:
    assert small_guard.ask(r"\int_0^1 x dx", "1/2").outcome == "same"
    child = os.fork()
    if child == 0:
        ok = small_guard.ask(r"\int_0^1 x dx", "1/2").outcome == "same" and small_guard.owner == os.getpid()
        small_guard.close()
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert small_guard.ask(r"\int_0^1 2x dx", "1").outcome == "same"
    small_guard.close()


def test_a_forked_process_may_end_normally() -> None:
    script = (
        "import os, sys; from sent_rl.answers import verdict; verdict(r'\\int_0^1 x dx', '1/2'); pid = os.fork()\n"
        "if pid == 0: sys.exit(0)\n"
        "print(os.waitpid(pid, 0)[1], verdict(r'\\int_0^1 2x dx', '1'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["0", "same"]


def test_several_golds_and_a_tolerance() -> None:
    assert equivalent(["6630.65", "6630"], "6630.0")
    assert not equivalent(["6630.65", "6630"], "6631")
    assert verdict("4.2", "4.26", 0.1) == "same"
    assert verdict("4.2", "4.31", 0.1) == "different"
    assert verdict(["9^{9^9}", "5"], "6") == "none"
    assert verdict("x", "y", 0.1) == "different"


def test_semantically_equal_answers_are_one_cluster_whatever_their_order() -> None:
    answers = ["1/2", "0.5", r"\frac{2}{4}", "x^2", r"x \cdot x", r"\int_0^1 x dx", "2, 1", r"\{1,2\}", None]
    first = cluster(answers)
    assert first == [0, 0, 0, 1, 1, 0, 2, 2, None]
    rng = random.Random(0)
    for _ in range(20):
        order = rng.sample(range(len(answers)), len(answers))
        numbers = cluster([answers[i] for i in order])
        for (i, a), (j, b) in itertools.combinations(zip(order, numbers, strict=True), 2):
            assert (a == b) == (first[i] == first[j])


def expressions(depth: int) -> st.SearchStrategy[tuple[str, Fraction]]:
    """Text in TeX or plain, and the value that Python gives it."""
    if depth == 0:
        return st.integers(0, 40).map(lambda n: (str(n), Fraction(n))) | st.integers(0, 400).map(lambda n: (f"{n / 10}", Fraction(n, 10)))
    below = expressions(depth - 1)

    def joined(parts: tuple[tuple[str, Fraction], str, tuple[str, Fraction]]) -> tuple[str, Fraction]:
        (a, x), operator, (b, y) = parts
        if operator == "frac":
            return (rf"\frac{{{a}}}{{{b}}}", x / y) if y else (f"({a})", x)
        if operator == "^":
            return f"({a})^{{3}}", x**3
        return {"+": (f"({a}+{b})", x + y), "-": (f"({a} - {b})", x - y), "*": (rf"({a}) \cdot ({b})", x * y), "": (f"({a})({b})", x * y)}[
            operator
        ]

    return st.tuples(below, st.sampled_from(["+", "-", "*", "", "frac", "^"]), below).map(joined)


@given(expressions(3))
@settings(max_examples=150, deadline=None)
def test_arithmetic_is_exact(case: tuple[str, Fraction]) -> None:
    text, value = case
    assert evaluate(text).key == str(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\sqrt{2+\sqrt{3}}", math.sqrt(2 + math.sqrt(3))),
        (r"\sin\frac{\pi}{7} + \cos 2", math.sin(math.pi / 7) + math.cos(2)),
        (r"\ln 5 \cdot \log 7", math.log(5) * math.log10(7)),
        (r"e^{-1.5}", math.exp(-1.5)),
        (r"\arctan(3)^2", math.atan(3) ** 2),
        (r"\tan^2 1", math.tan(1) ** 2),
        (r"2^{1/3} \cdot 3^{-0.5}", 2 ** (1 / 3) * 3**-0.5),
        (r"\sqrt[5]{10}", 10**0.2),
    ],
)
def test_functions_have_the_values_that_python_gives_them(text: str, value: float) -> None:
    assert float(evaluate(text).value or math.nan) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize(
    "text", ["", "+", "1+", "(1", "1)", r"\frac{1}", r"\unknown{x}", "a # b", "1/0", r"\sqrt{}", "2^", "_", "x_", "|x", r"\frac1"]
)
def test_what_is_no_expression_is_not_understood(text: str) -> None:
    with pytest.raises(NotUnderstood):
        evaluate(text)
