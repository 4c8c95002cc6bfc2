"""Arithmetic on numbers that stay exact fractions as long as they can, and have 50 digits else; whatever would take long is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath

DIGITS, KEY_DIGITS = 50, 20
_MOST_BITS = 10_000  # some 3,000 digits: below what Python turns into text
_LARGEST_FACTORIAL = 1000
_LARGEST_LOG = 1e4
_LARGEST_ANGLE = 1e30
_LARGEST_EXPONENT = 400

Scalar = Any  # a Fraction, or mpmath's mpf or mpc, which have no types

context = mpmath.mp.clone()
context.dps = DIGITS
_ZERO = context.mpf(10) ** -35
CONSTANTS: dict[str, Scalar] = {"pi": context.mpf(context.pi), "e": context.mpf(context.e), "i": context.mpc(0, 1)}
_PLAIN_NAMES = {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}
FUNCTIONS = ("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "exp")


class NotUnderstood(ValueError):
    """The text is not an expression that is read here."""


class TooMuch(NotUnderstood):
    """It is one, but nobody should try to work it out."""


def number(text: str) -> Fraction:
    """A decimal numeral, with or without an exponent."""
    _, _, exponent = text.lower().partition("e")
    if abs(int(exponent or 0)) > _LARGEST_EXPONENT:
        raise TooMuch("too large")
    return Fraction(text)


def rounded_text(scalar: Scalar) -> str:
    """KEY_DIGITS digits, also of a fraction: for values at points, where exactness says nothing."""
    return text_of(scalar) if is_complex(scalar) else str(context.nstr(real(scalar), KEY_DIGITS))


def text_of(scalar: Scalar) -> str:
    if isinstance(scalar, Fraction):
        return str(scalar)
    if is_complex(scalar):
        return f"{text_of(snap(scalar.real))} and {text_of(snap(scalar.imag))}i"
    return str(context.nstr(scalar, KEY_DIGITS))


def is_complex(scalar: Scalar) -> bool:
    return isinstance(scalar, context.mpc)


def snap(scalar: Scalar) -> Scalar:
    """Rounding noise goes: a number that is a simple fraction to 35 digits becomes that fraction."""
    if isinstance(scalar, Fraction):
        return scalar
    if is_complex(scalar):
        if abs(scalar.imag) > _ZERO * max(1, abs(scalar.real)):
            return scalar
        scalar = scalar.real
    if not context.isfinite(scalar):
        raise NotUnderstood("not finite")
    if abs(scalar) < _ZERO:
        return Fraction(0)
    if abs(scalar) > 1e30:
        return scalar
    near = Fraction(int(context.nint(scalar * 10**40)), 10**40).limit_denominator(10**6)
    close = abs(context.mpf(near.numerator) / near.denominator - scalar) <= _ZERO * abs(scalar)
    return near if close else scalar


def real(scalar: Scalar) -> Scalar:
    return context.mpf(scalar.numerator) / scalar.denominator if isinstance(scalar, Fraction) else scalar


def _small(scalar: Scalar) -> Scalar:
    """A fraction of too many digits goes on as a number of 50 digits. A whole number must not: its last digit counts."""
    if isinstance(scalar, Fraction) and max(scalar.numerator.bit_length(), scalar.denominator.bit_length()) > _MOST_BITS:
        if scalar.denominator == 1:
            raise TooMuch("too many digits")
        return real(scalar)
    return scalar


def binary(a: Scalar, b: Scalar, operator: str) -> Scalar:
    if operator == "^":
        return _power(a, b)
    if not (isinstance(a, Fraction) and isinstance(b, Fraction)):
        a, b = real(a), real(b)
    if operator == "/":
        return _small(a / b)
    return _small(a + b if operator == "+" else a - b if operator == "-" else a * b)


def _power(base: Scalar, exponent: Scalar) -> Scalar:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if bits * abs(exponent.numerator) <= _MOST_BITS:
            return base**exponent.numerator
        if base.denominator == 1 and abs(base) > 1:
            raise TooMuch("too many digits")
    if isinstance(base, Fraction) and base < 0 and isinstance(exponent, Fraction) and exponent.denominator % 2:
        root = _power(-base, exponent)  # odd roots of negative numbers are real
        return -root if exponent.numerator % 2 else root
    base, exponent = real(base), real(exponent)
    if base != 0 and abs(exponent * context.log(base)) > _LARGEST_LOG:
        raise TooMuch("too large")
    return context.power(base, exponent)


def factorial(scalar: Scalar) -> Scalar:
    """Of whole numbers, and, as the gamma function, of what stands for a variable."""
    if isinstance(scalar, Fraction) and scalar.denominator == 1:
        if not 0 <= scalar <= _LARGEST_FACTORIAL:
            raise TooMuch("no factorial that is computed here")
        return _small(Fraction(math.factorial(scalar.numerator)))
    if abs(real(scalar)) > _LARGEST_FACTORIAL:
        raise TooMuch("too large")
    return context.gamma(real(scalar) + 1)


def binomial(above: Scalar, below: Scalar) -> Scalar:
    if isinstance(above, Fraction) and isinstance(below, Fraction) and above.denominator == below.denominator == 1:
        if not 0 <= below <= above <= _LARGEST_FACTORIAL:
            raise TooMuch("no binomial that is computed here")
        return Fraction(math.comb(above.numerator, below.numerator))
    return context.binomial(real(above), real(below))


def whole(scalar: Scalar, function: Callable[[Scalar], int]) -> Scalar:
    """Floor or ceiling; of a complex number, of both its parts."""
    if is_complex(scalar):
        return context.mpc(int(function(scalar.real)), int(function(scalar.imag)))
    return Fraction(int(function(scalar)))


def apply(name: str, scalar: Scalar) -> Scalar:
    """One of FUNCTIONS."""
    if abs(real(scalar)) > (_LARGEST_LOG if name in ("exp", "sinh", "cosh", "tanh") else _LARGEST_ANGLE):
        raise TooMuch("too large")
    return getattr(context, _PLAIN_NAMES.get(name, name))(real(scalar))


def logarithm(scalar: Scalar, base: Scalar) -> Scalar:
    return context.log(real(scalar)) / context.log(real(base))
