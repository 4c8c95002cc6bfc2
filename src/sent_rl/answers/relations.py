r"""Equations and inequalities as keys that their equivalent forms share."""

from __future__ import annotations

import re
from contextlib import suppress

from sent_rl.answers.expression import Value, evaluate, minus, proportional
from sent_rl.answers.scalars import NotUnderstood, binary, is_complex, rounded_text, snap

RELATION = re.compile(r"\\(?:le|ge|ne|in|to|approx|equiv|sim|cong)(?![A-Za-z])|[<>=]")
MIRRORED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


def relations_of(text: str) -> tuple[list[str], list[str]]:
    """(sides, relations between them), outside of all brackets."""
    sides, relations, depth, start, position = [], [], 0, 0, 0
    while position < len(text):
        found = RELATION.match(text, position) if depth == 0 else None
        if found:
            sides.append(text[start:position].strip())
            relations.append(found[0])
            start = position = found.end()
            continue
        depth += (text[position] in "([{") - (text[position] in ")]}")
        position += 1
    return [*sides, text[start:].strip()], relations


def equation_key(left: str, right: str) -> str | None:
    """The same for every multiple of ``left = right``; None where a side is not read, or the equation says nothing."""
    difference = _difference(left, right)
    return None if difference is None else proportional(difference)


def inequality_key(left: str, relation: str, right: str) -> str | None:
    """The same for every positive multiple of ``left < right``, and for ``right > left``; None as of :func:`equation_key`."""
    difference = _difference(left, right)
    if difference is None or any(is_complex(scalar) or scalar == 0 for scalar in difference):
        return None
    if all(scalar == difference[0] for scalar in difference):
        return None  # 2 < 3 says nothing about an unknown
    size = abs(difference[0]) if relation in (">", "\\ge") else -abs(difference[0])
    strict = ">" if relation in "<>" else ">="
    return " ".join(rounded_text(snap(binary(scalar, size, "/"))) for scalar in difference) + f" {strict} 0"


def _difference(left: str, right: str) -> Value | None:
    with suppress(NotUnderstood):
        return minus(evaluate(left).at, evaluate(right).at)
    return None
