"""Do two answers say the same? The one place that training reward, semantic entropy and evaluation ask."""

from __future__ import annotations

import atexit
import re
import warnings
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

from sent_rl.answers.asking import is_worth_asking
from sent_rl.answers.brackets import depth_of
from sent_rl.answers.forms import Form, read
from sent_rl.answers.guard import Guard, Outcome
from sent_rl.answers.scalars import real

Verdict = Literal["same", "different", "none"]
"""``none``: no verdict was reached within the limits; :func:`finding` says which."""
Finding = Literal["same", "different", "size", "time", "memory", "failed", "lost"]
"""A verdict, or why there is none. ``size``: one of the two is too long, too deep or too large to
be worked out. The others are those of :data:`sent_rl.answers.guard.Outcome`."""

_guard = Guard()
atexit.register(_guard.close)
_LONGEST, _DEEPEST, _MOST_DIGITS = 400, 20, 40
_MOST_UNANSWERED = 8
_DECIMALS, _RELATIVE = Fraction(1, 2_000_000), Fraction(1, 100_000)


def verdict(gold: str | Sequence[str], answer: str | None, tolerance: float | None = None) -> Verdict:
    """What is known about whether an extracted answer says the same as the gold answer, or as one of several.

    Canonical forms first; where one of the two is not understood, math-verify, with limits. Of two decimals that stand for irrational or
    endless numbers six decimals must agree (math-verify's rule), and five digits.

    Args:
        tolerance: two numbers that are no further apart count as the same (OlympiadBench gives one for some problems).
    """
    found = finding(gold, answer, tolerance)
    return found if found == "same" or found == "different" else "none"


def finding(gold: str | Sequence[str], answer: str | None, tolerance: float | None = None) -> Finding:
    """:func:`verdict`, with the reason in place of ``none``."""
    if answer is None:
        return "different"
    if not isinstance(gold, str):
        found = [finding(each, answer, tolerance) for each in gold]
        return "same" if "same" in found else next((v for v in found if v != "different"), "different")
    one, other = read(gold), read(answer)
    if _same(one, other):
        return "same"
    numbers = one.value is not None and other.value is not None
    if tolerance is not None and numbers and abs(real(one.value) - real(other.value)) <= tolerance * (1 + 1e-9):
        return "same"
    if (one.understood and other.understood) or any(form.kind == "broken" and form.understood for form in (one, other)):
        return "different"
    if "monster" in (one.kind, other.kind) or not (_is_modest(gold) and _is_modest(answer)):
        return "size"
    if not (is_worth_asking(one, gold, answer) and is_worth_asking(other, answer, gold)):
        return "different"
    return _asked(gold, answer)


def equivalent(gold: str | Sequence[str], answer: str | None, tolerance: float | None = None) -> bool:
    """Whether an extracted answer says the same as the gold answer. None is never right, and neither is an answer without a verdict."""
    return verdict(gold, answer, tolerance) == "same"


def canonical(answer: str) -> str:
    """One key for answers that plainly say the same.

    >>> canonical("$1{,}000.50$"), canonical(r"\\dfrac{2}{4}"), canonical(r"\\{2, 1\\}")
    ('2001/2', '1/2', '{1; 2}')
    """
    return read(answer).key


def cluster(answers: Sequence[str | None]) -> list[int | None]:
    """The cluster of each answer, numbered by first appearance; None (no answer) stays None.

    Which answers fall together does not depend on their order: every distinct form is compared with the representatives so far, forms
    that are understood first, short ones before long ones. After a few pairs without a verdict math-verify is not asked again.
    """
    texts: dict[str, str] = {}
    for answer in answers:
        if answer is not None:
            key = read(answer).key
            texts[key] = min(texts.get(key, answer), answer, key=lambda text: (len(text), text))
    representative: dict[str, str] = {}
    kept: list[str] = []
    unanswered = 0
    for key in sorted(texts, key=lambda key: (not read(texts[key]).understood, len(texts[key]), key)):
        representative[key] = key
        for other in kept:
            if unanswered >= _MOST_UNANSWERED and not (read(texts[key]).understood and read(texts[other]).understood):
                continue
            found = verdict(texts[other], texts[key])
            unanswered += found == "none"
            if found == "same":
                representative[key] = other
                break
        else:
            kept.append(key)
    numbers: dict[str, int] = {}
    return [None if a is None else numbers.setdefault(representative[read(a).key], len(numbers)) for a in answers]


def _same(one: Form, other: Form) -> bool:
    if one.key == other.key or (one.equation is not None and one.equation == other.equation):
        return True
    if one.key == other.unitless or other.key == one.unitless:
        return True
    if "choice" in (one.kind, other.kind):
        return _same_choice(one, other)
    if one.kind == other.kind == "number":
        return _close(one, other) or _percent(one, other) or _percent(other, one)
    if _is_named(one) != _is_named(other):
        return _in_order(one, other)
    if one.kind != other.kind or len(one.parts) != len(other.parts) or not one.parts:
        return False
    if one.kind in ("tuple", "assignment"):
        return one.label == other.label and all(map(_same, one.parts, other.parts))
    return all(any(_same(a, b) for b in other.parts) for a in one.parts) and all(any(_same(a, b) for a in one.parts) for b in other.parts)


def _same_choice(one: Form, other: Form) -> bool:
    """``(C) 5`` is C and is 5, but not ``(B) 5``."""
    if one.kind == other.kind:
        return all(map(_same, one.parts, other.parts))
    choice, plain = (one, other) if one.kind == "choice" else (other, one)
    return any(_same(part, plain) for part in choice.parts)


def _is_named(form: Form) -> bool:
    return form.kind == "set" and all(part.kind == "assignment" for part in form.parts)


def _in_order(one: Form, other: Form) -> bool:
    """``x = 2, y = 3`` is also ``2, 3`` and ``(2, 3)``: the values in the order of the names."""
    named, plain = (one, other) if _is_named(one) else (other, one)
    if plain.kind not in ("set", "tuple") or len(named.written) != len(plain.written):
        return False
    if any(part.equation is not None for part in plain.written):  # x = 2, x = 3 has a name of its own
        return False
    return all(_same(a.parts[0], b) for a, b in zip(named.written, plain.written, strict=True))


def _close(one: Form, other: Form) -> bool:
    """Whether one of them may be the other, rounded. A whole number has no rounded form: 2.9999999 is not 3."""
    if not (one.inexact or other.inexact) or any(_is_whole(form.value) for form in (one, other)):
        return False
    a, b = (real(form.value) for form in (one, other))
    return bool(abs(a - b) <= min(real(_DECIMALS), max(abs(a), abs(b)) * real(_RELATIVE)))


def _percent(one: Form, other: Form) -> bool:
    """50 % is 50, and may be written as 1/2; more than 100 % is no such share: 500 % is not 5."""
    if not one.percent or other.percent or abs(real(one.value)) > 100:
        return False
    return bool(real(one.value) == 100 * real(other.value))


def _is_whole(value: Any) -> bool:
    return isinstance(value, Fraction) and value.denominator == 1


def _is_modest(text: str) -> bool:
    """Whether it is worth a parser's while: what is longer or deeper than any answer to a problem is not."""
    digits = max(map(len, re.findall(r"\d+", text)), default=0)
    return len(text) <= _LONGEST and depth_of(text) <= _DEEPEST and digits <= _MOST_DIGITS


class _Lost(Exception):
    """Raised, so that the cache does not keep what says nothing about the pair."""


def _asked(gold: str, answer: str) -> Finding:
    try:
        return _remembered(gold, answer)
    except _Lost:
        warnings.warn(
            "math-verify's process was killed or stopped from outside, perhaps for want of memory: "
            "the answer counts as wrong now and is judged again when it is met again",
            stacklevel=2,
        )
        return "lost"


@lru_cache(maxsize=1 << 14)
def _remembered(gold: str, answer: str) -> Outcome:
    outcome = _guard.ask(gold, answer).outcome
    if outcome == "lost":
        raise _Lost
    return outcome
