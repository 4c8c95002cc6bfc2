r"""The tokens of a mathematical expression in TeX or plain text."""

from __future__ import annotations

import re
from typing import NamedTuple

from sent_rl.answers.scalars import NotUnderstood

_TOKEN = re.compile(
    r"""(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<command>\\[A-Za-z]+)
      | (?P<word>pi|sqrt|arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|log|exp)(?![A-Za-z])
      | (?P<letter>[A-Za-z])
      | (?P<symbol>\*\*|[-+*/^_!|(){}\[\]'])
      | (?P<blank>\s+)""",
    re.VERBOSE,
)


class Token(NamedTuple):
    """``kind`` is number, command, word, letter or symbol."""

    kind: str
    text: str


def tokens(text: str) -> list[Token]:
    """The tokens of a text, without blanks.

    Raises:
        NotUnderstood: a character that is part of no expression.
    """
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotUnderstood(f"{text[position]!r}")
        position = match.end()
        kind = str(match.lastgroup)
        if kind != "blank":
            found.append(Token(kind, match[0]))
    return found
