r"""The value of a mathematical expression in TeX or plain text, as a key that two spellings of the same value share.

An expression is evaluated as it is read, at four fixed points for its variables: exactly in fractions where that is possible, else with
50 digits. No symbolic algebra: it is fast, needs little memory, and whatever would take long raises :class:`NotUnderstood`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from mpmath.libmp import NoConvergence

from sent_rl.answers.lexer import Token, tokens
from sent_rl.answers.scalars import (
    CONSTANTS,
    FUNCTIONS,
    NotUnderstood,
    Scalar,
    TooMuch,
    apply,
    binary,
    binomial,
    factorial,
    is_complex,
    logarithm,
    number,
    rounded_text,
    snap,
    text_of,
    whole,
)

_POINTS = 4
_DEEPEST, _LONGEST = 40, 1000

Value = tuple[Scalar, ...]


class Evaluated(NamedTuple):
    """``key``: equal for equal values; ``value``: the number, where it is a real constant; ``at``: the value at each point."""

    key: str
    value: Scalar | None
    at: Value


_ACCENTS = {"\\dot", "\\ddot", "\\bar", "\\hat", "\\vec", "\\tilde", "\\overline", "\\mathcal", "\\mathbb"}
_GREEK = {
    r"\alpha", r"\beta", r"\gamma", r"\delta", r"\epsilon", r"\varepsilon", r"\zeta", r"\eta", r"\theta",
    r"\vartheta", r"\iota", r"\kappa", r"\lambda", r"\mu", r"\nu", r"\xi", r"\rho", r"\sigma",
    r"\tau", r"\upsilon", r"\phi", r"\varphi", r"\chi", r"\psi", r"\omega", r"\Gamma", r"\Delta",
    r"\Theta", r"\Lambda", r"\Xi", r"\Pi", r"\Sigma", r"\Phi", r"\Psi", r"\Omega", r"\hbar",
    r"\ell", r"\odot", r"\prime", r"\infty",
}  # fmt: skip


_REPEATED = ("\\overline", "\\bar", "\\dot")
_CLOSING = {"(": ")", "{": "}", "[": "]"}
_OF_ANGLES = ("sin", "cos", "tan", "cot", "sec", "csc")
_DEGREE = binary(CONSTANTS["pi"], Fraction(180), "/")


def evaluate(text: str) -> Evaluated:
    """Read an expression.

    Raises:
        NotUnderstood: it is none, it is undefined at a point, or it would take too long.
    """
    if len(text) > _LONGEST:
        raise TooMuch("too long")
    try:
        value = tuple(snap(scalar) for scalar in _Reader(text).read())
    except NotUnderstood:
        raise
    except (OverflowError, NoConvergence, RecursionError) as error:
        raise TooMuch(str(error)) from error
    except (ZeroDivisionError, ValueError, TypeError) as error:
        raise NotUnderstood(str(error)) from error
    constant = all(scalar == value[0] for scalar in value)
    key = text_of(value[0]) if constant else " ".join(map(rounded_text, value))
    return Evaluated(key, value[0] if constant and not is_complex(value[0]) else None, value)


def proportional(value: Value) -> str | None:
    """A key of the equation ``value = 0``: the same for every multiple of it. None where a point makes it 0, so that it says nothing."""
    if any(scalar == 0 for scalar in value):
        return None
    return " ".join(rounded_text(snap(binary(scalar, value[0], "/"))) for scalar in value[1:])


def minus(left: Value, right: Value) -> Value:
    """``left - right``, point by point."""
    return tuple(snap(binary(a, b, "-")) for a, b in zip(left, right, strict=True))


def _variable(name: str) -> Value:
    """Rational points for a variable, from its name alone, between 2 and 12 in size: the first is positive, the others have signs of their
    own, not all the same, so that neither |x| is x nor |xy| is xy."""
    digest = hashlib.blake2b(name.encode(), digest_size=4 * _POINTS + 1).digest()
    parts = [int.from_bytes(digest[4 * i : 4 * i + 4], "big") % 49991 for i in range(_POINTS)]
    sign = 1 if digest[-1] & 1 else -1
    signs = (1, sign, -sign, 1 if digest[-1] & 2 else -1)
    return tuple(Fraction(sign * (10007 + part), 4999) for sign, part in zip(signs, parts, strict=True))


def _constant(scalar: Scalar) -> Value:
    return (scalar,) * _POINTS


def _negative(value: Value) -> Value:
    return tuple(-scalar for scalar in value)


def _join(a: Value, b: Value, operator: str) -> Value:
    return tuple(binary(x, y, operator) for x, y in zip(a, b, strict=True))


class _Reader:
    """A recursive-descent reader that evaluates as it goes."""

    def __init__(self, text: str) -> None:
        self.tokens = tokens(text)
        self.position = 0
        self.depth = 0
        self.in_bars = 0
        self.in_angle = 0

    def read(self) -> Value:
        value = self._sum()
        if self.position < len(self.tokens):
            raise NotUnderstood(f"{self.tokens[self.position].text!r}")
        return value

    def _peek(self) -> str:
        return self.tokens[self.position].text if self.position < len(self.tokens) else ""

    def _next(self) -> Token:
        if self.position >= len(self.tokens):
            raise NotUnderstood("it ends too early")
        self.position += 1
        return self.tokens[self.position - 1]

    def _take(self, *texts: str) -> bool:
        if self._peek() in texts:
            self.position += 1
            return True
        return False

    def _expect(self, *texts: str) -> None:
        if not self._take(*texts):
            raise NotUnderstood(f"no {texts[0]}")

    def _sum(self) -> Value:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise TooMuch("too deep")
        value = self._product()
        while (operator := self._peek()) in ("+", "-"):
            self.position += 1
            value = _join(value, self._product(), operator)
        self.depth -= 1
        return value

    def _product(self) -> Value:
        if self._take("-"):
            return _negative(self._product())
        self._take("+")
        value = self._power()
        while True:
            if self._take("*", "\\cdot", "\\times", "\\ast"):
                value = _join(value, self._signed(), "*")
            elif self._take("/", "\\div"):
                value = _join(value, self._signed(), "/")
            elif self._starts_factor():
                value = _join(value, self._power(), "*")
            else:
                return value

    def _signed(self) -> Value:
        return _negative(self._signed()) if self._take("-") else self._power()

    def _starts_factor(self) -> bool:
        if self.position >= len(self.tokens):
            return False
        kind, text = self.tokens[self.position]
        if kind == "symbol":
            return text in ("(", "{", "[") or (text == "|" and not self.in_bars)
        return kind != "command" or text in _STARTS

    def _power(self) -> Value:
        value = self._postfix(self._atom())
        if self._take("^", "**"):
            value = _join(value, self._exponent(), "^")
        return self._postfix(value)

    def _postfix(self, value: Value) -> Value:
        while True:
            if self._take("!"):
                value = tuple(map(factorial, value))
            elif self._take("\\degree"):  # counts inside a function of an angle; 36 degrees are 36
                value = _join(value, _constant(_DEGREE), "*") if self.in_angle else value
            else:
                return value

    def _exponent(self) -> Value:
        if self._take("-"):
            return _negative(self._exponent())
        value = self._postfix(self._atom())
        return _join(value, self._exponent(), "^") if self._take("^", "**") else value

    def _atom(self) -> Value:
        kind, text = self._next()
        if kind == "number":
            return _constant(number(text) + self._repeating(text))
        if text in _CLOSING:
            return self._until(_CLOSING[text])
        if text == "|":
            return self._bars()
        if kind in ("command", "word"):
            name = text.lstrip("\\")
            if name in _SPECIAL:
                return _SPECIAL[name](self)
            if name in FUNCTIONS or name == "log":
                return self._applied(name)
        if kind in ("letter", "command"):
            return self._named(text)
        raise NotUnderstood(f"{text!r}")

    def _repeating(self, text: str) -> Fraction:
        r"""What ``\overline{36}`` adds to the ``0.1`` before it."""
        following = [token.text for token in self.tokens[self.position : self.position + 4]]
        if "." not in text or not following or following[0] not in _REPEATED:
            return Fraction(0)
        braced = len(following) == 4 and following[1] == "{" and following[3] == "}"
        digits = following[2] if braced else following[1] if len(following) > 1 else ""
        if not digits.isdigit():
            raise NotUnderstood("what is repeated?")
        self.position += 4 if braced else 2
        return Fraction(int(digits), (10 ** len(digits) - 1) * 10 ** len(text.partition(".")[2]))

    def _bars(self) -> Value:
        self.in_bars += 1
        value = self._sum()
        self.in_bars -= 1
        self._expect("|")
        return tuple(abs(scalar) for scalar in value)

    def _argument(self) -> Value:
        r"""What \frac or \sqrt takes: a group, or, as in TeX, a single digit or sign."""
        if self._take("{"):
            return self._until("}")
        kind, text = self.tokens[self.position] if self.position < len(self.tokens) else ("", "")
        if kind == "number" and len(text) > 1 and text.isdigit():
            self.tokens[self.position] = Token("number", text[1:])
            return _constant(Fraction(text[0]))
        return self._atom()

    def _fraction(self) -> Value:
        above = self._argument()
        return _join(above, self._argument(), "/")

    def _binomial(self) -> Value:
        above = self._argument()
        return tuple(binomial(a, b) for a, b in zip(above, self._argument(), strict=True))

    def _root(self) -> Value:
        degree = _constant(Fraction(2))
        if self._take("["):
            degree = self._until("]")
        # A number behind the sign is taken whole: whoever writes \sqrt13 means the root of 13, though TeX sets another.
        under = self._argument() if self._peek() == "{" else self._atom()
        return _join(under, _join(_constant(Fraction(1)), degree, "/"), "^")

    def _until(self, end: str) -> Value:
        value = self._sum()
        self._expect(end)
        return value

    def _rounded(self, function: Callable[[Scalar], int], end: str) -> Value:
        return tuple(whole(scalar, function) for scalar in self._until(end))

    def _applied(self, name: str) -> Value:
        """A function of what follows: an argument in parentheses, or the product that comes next."""
        base = _constant(Fraction(10)) if name == "log" else None
        exponent = None
        if name == "log" and self._take("_"):
            base = self._argument()
        if self._take("^"):
            exponent = self._argument() if not self._take("-") else _negative(self._argument())
        if name in ("sin", "cos", "tan") and exponent == _constant(Fraction(-1)):
            name, exponent = f"arc{name}", None
        argument = self._function_argument(name)
        if base is not None:
            value = tuple(logarithm(a, b) for a, b in zip(argument, base, strict=True))
        else:
            value = tuple(apply(name, scalar) for scalar in argument)
        return value if exponent is None else _join(value, exponent, "^")

    def _function_argument(self, name: str) -> Value:
        self.in_angle += name in _OF_ANGLES
        argument = self._until(_CLOSING[self._next().text]) if self._peek() in _CLOSING else self._next_product()
        self.in_angle -= name in _OF_ANGLES
        return argument

    def _next_product(self) -> Value:
        r"""``\sin 2x`` is the sine of 2x, up to the next sign, function or parenthesis."""
        value = self._power()
        while self._starts_factor() and self._peek().lstrip("\\") not in {*FUNCTIONS, "log", "(", "["}:
            value = _join(value, self._power(), "*")
        return value

    def _named(self, name: str) -> Value:
        r"""A variable or constant, with its subscripts, primes and accents: x_1, y', \dot{x}_0, I(0)."""
        if name in _ACCENTS:
            inner = self._next().text
            if inner == "{":
                inner = self._next().text
                subscript = self._subscript()
                self._expect("}")
                inner += subscript
            name = f"{name} {inner}"
        elif name.startswith("\\") and name not in _GREEK:
            raise NotUnderstood(name)
        suffix = self._subscript()
        while self._take("'"):
            suffix += "'"
        tokens = [token.text for token in self.tokens[self.position : self.position + 3]]
        if len(tokens) == 3 and tokens[0] == "(" and tokens[1].isdigit() and tokens[2] == ")":  # I(0) is a symbol, not a product
            self.position += 3
            suffix += "".join(tokens)
        if not suffix and name in CONSTANTS:
            return _constant(CONSTANTS[name])
        if name == "\\infty":
            raise NotUnderstood("infinity")
        return _variable(name + suffix)

    def _subscript(self) -> str:
        if not self._take("_"):
            return ""
        if not self._take("{"):
            return f"_{self._next().text}"
        parts = []
        while not self._take("}"):
            parts.append(self._next().text)
        return f"_{''.join(parts)}"


_SPECIAL: dict[str, Callable[[_Reader], Value]] = {
    **dict.fromkeys(("frac", "dfrac", "tfrac", "cfrac"), _Reader._fraction),
    **dict.fromkeys(("binom", "dbinom", "tbinom"), _Reader._binomial),
    "sqrt": _Reader._root,
    "pi": lambda reader: _constant(CONSTANTS["pi"]),
    "lfloor": lambda reader: reader._rounded(math.floor, "\\rfloor"),
    "lceil": lambda reader: reader._rounded(math.ceil, "\\rceil"),
    "lvert": lambda reader: tuple(abs(scalar) for scalar in reader._until("\\rvert")),
}
_STARTS = {f"\\{name}" for name in (*_SPECIAL, *FUNCTIONS, "log")} | _GREEK | _ACCENTS
