r"""Names that an answer may give its value: ``x``, ``x_1``, ``f(2)``, ``AB``, ``\angle ABC``, ``(p, q)``, "area"."""

from __future__ import annotations

import re

from sent_rl.answers.scalars import FUNCTIONS

_NO_NAME = rf"(?!\\?(?:{'|'.join(FUNCTIONS)}|log|sqrt|frac|int|sum|lim)(?![A-Za-z]))"
SYMBOL = rf"{_NO_NAME}(?:\\?[A-Za-z](?![A-Za-z])|\\[A-Za-z]+)(?:_(?:\{{[^{{}}]*\}}|\w))?'*"
_ARGUMENT = rf"\s*(?:{SYMBOL}(?:\(\s*{SYMBOL}\s*\))?|-?\d+(?:\.\d+)?)\s*"
_FUNCTION = rf"{SYMBOL}\s*(?:\({_ARGUMENT}(?:,{_ARGUMENT})*\))?|P\s*\([^()]*\)"
_POINTS = r"[A-Z](?:_?\d|')*(?:\s*[A-Z](?:_?\d|')*)+"
_MEASURE = (
    rf"(?:m\s*)?\\angle\s*\{{?\s*[A-Z][A-Z\d_']*\s*\}}?|\\(?:overline|overrightarrow|vec|triangle)\s*\{{?\s*{_POINTS}\s*\}}?"
    rf"|\|\s*{_POINTS}\s*\||\[\s*{_POINTS}\s*\]|{_POINTS}"
)
_OF_TWO = rf"\\[dt]?frac\s*\{{(?:{_MEASURE})\}}\s*\{{(?:{_MEASURE})\}}|(?:{_MEASURE})\s*/\s*(?:{_MEASURE})"
_WORDS = rf"{_NO_NAME}[A-Za-z]*[a-z]{{3}}[A-Za-z ]*"

_IS_SYMBOL = re.compile(_FUNCTION)
_IS_MEASURE = re.compile(rf"{_OF_TWO}|{_MEASURE}|{_WORDS}")
_IS_RATIO = re.compile(rf"(?:{_MEASURE}|{SYMBOL})\s*:\s*(?:{_MEASURE}|{SYMBOL})")
_IS_TUPLE = re.compile(rf"\(\s*{SYMBOL}\s*(?:,\s*{SYMBOL}\s*)+\)")
_INDEX = re.compile(r"_\{?\d+\}?$")


def is_symbol(text: str) -> bool:
    r"""A variable, or a function at a place: x, x_1, f(x), f(2); not \sin(x), which has a value of its own."""
    return _IS_SYMBOL.fullmatch(text) is not None


def arguments(name: str) -> list[str]:
    """The letters that a function depends on: x of f(x)."""
    return re.findall(r"[a-z]", name.partition("(")[2]) if "\\" not in name.partition("(")[2] else []


def is_measure(text: str) -> bool:
    r"""What has a number as its value: AB, |AB|, \angle ABC, \frac{AB}{CD}, or a word."""
    return _IS_MEASURE.fullmatch(text) is not None


def is_ratio(text: str) -> bool:
    """Two names with a colon between them."""
    return _IS_RATIO.fullmatch(text) is not None


def tuple_length(text: str) -> int:
    """How many names stand in parentheses; 0 for other text."""
    return text.count(",") + 1 if _IS_TUPLE.fullmatch(text) else 0


def stem(name: str) -> str:
    """x of x_1 and x_{2}, which are two values of one unknown."""
    return _INDEX.sub("", name.strip())
