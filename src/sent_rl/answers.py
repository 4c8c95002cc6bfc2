"""Text -> final answer -> canonical form -> are these two the same?

The same functions give the training reward, the clusters of semantic entropy and the evaluation's verdicts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from sent_rl.errors import UserError, nearest

# Numbers longer than this stay text: turning digits into a number takes time that grows with the square of their count.
_LONGEST_NUMBER = 200

_NUMBER = re.compile(r"-?(?:\d+(?:,\d{3})*(?!\d)(?:\.\d+)?|\.\d+)(?:/\d+)?")
_PLAIN_NUMBER = re.compile(r"([+-]?)(\d+(?:\.\d*)?|\.\d+)(?:/(\d+))?")
_FRACTION = re.compile(r"\\[dt]?frac\{(-?[^{}]+)\}\{([^{}]+)\}")
_WITH_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_ATOM = re.compile(r"-?(?:[\d.]+|\\?[A-Za-z]+)")
_BOLD = re.compile(r"\*\*(.*)\*\*")
_WRAPPERS = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\{([^{}]*)\}")
_NOISE = re.compile(r"\\left|\\right|\\[,!;: ]|\\\(|\\\)|\\\[|\\\]|\$|(?<!\d)\s+|\s+(?!\d)")  # a blank between two digits says something


def _last_boxed(text: str) -> str | None:
    """The content of the last ``\\boxed{...}`` with balanced braces."""
    start = text.rfind("\\boxed{")
    while start >= 0:
        depth, begin = 1, start + len("\\boxed{")
        for position in range(begin, len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                return text[begin:position]
        start = text.rfind("\\boxed{", 0, start)
    return None


def _last_match(pattern: str) -> Callable[[str], str | None]:
    compiled = re.compile(pattern, re.IGNORECASE | re.MULTILINE)

    def find(text: str) -> str | None:
        matches = compiled.findall(text)
        return matches[-1] if matches else None

    return find


def _last_number(text: str) -> str | None:
    matches = _NUMBER.findall(text)
    return matches[-1] if matches else None


STRATEGIES: dict[str, Callable[[str], str | None]] = {
    "boxed": _last_boxed,
    "hash": _last_match(r"####[ \t]*(\S[^\n]*)"),
    "answer_line": _last_match(r"^[ \t]*(?:final )?answer[ \t]*:[ \t]*(\S[^\n]*)"),
    "first_line": lambda text: text.strip().split("\n")[0],
    "last_number": _last_number,
}
DEFAULT_STRATEGIES = ("boxed", "hash", "answer_line", "last_number")


def extract(text: str, strategies: Sequence[str] = DEFAULT_STRATEGIES) -> str | None:
    """The final answer that a response states, or None.

    The first of ``strategies`` that finds something non-empty wins; ``STRATEGIES`` names them.

    Raises:
        UserError: an unknown strategy.
    """
    for name in strategies:
        if name not in STRATEGIES:
            raise UserError(f"answers: unknown strategy {name!r}; {nearest(name, STRATEGIES)}")
        found = STRATEGIES[name](text)
        if found is not None and found.strip():
            return found.strip()
    return None


def _grouped(part: str) -> str:
    """Part of a fraction, in parentheses where it is more than a number or a letter."""
    return part if _ATOM.fullmatch(part) else f"({part})"


def canonical(answer: str) -> str:
    """One spelling for answers that plainly say the same: numbers become reduced fractions, TeX dressing and blanks go.

    >>> canonical("$1{,}000.50$"), canonical(r"\\dfrac{2}{4}"), canonical(" x + 1 ")
    ('2001/2', '1/2', 'x+1')
    """
    text = _WRAPPERS.sub(r"\1", answer.replace("{,}", ","))
    text = _NOISE.sub("", text).rstrip(".")
    bold = _BOLD.fullmatch(text)
    text = bold.group(1) if bold else text
    if _WITH_THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    text = _FRACTION.sub(lambda match: "/".join(map(_grouped, match.groups())), text)
    match = _PLAIN_NUMBER.fullmatch(text)
    if match is None or len(text) > _LONGEST_NUMBER:
        return text
    sign, number, denominator = match.groups()
    if denominator is not None and int(denominator) == 0:
        return text
    return str(Fraction(sign + number) / Fraction(denominator or 1))


def equivalent(gold: str, answer: str | None) -> bool:
    """Whether an extracted answer says the same as the gold answer. None is never right."""
    return answer is not None and canonical(gold) == canonical(answer)


def cluster(answers: Sequence[str | None]) -> list[int | None]:
    """The cluster of each answer, numbered by first appearance; None (no answer) stays None.

    Which answers fall together does not depend on their order.
    """
    numbers: dict[str, int] = {}
    return [None if answer is None else numbers.setdefault(canonical(answer), len(numbers)) for answer in answers]
