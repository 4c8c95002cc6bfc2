r"""Where in a response the final answer stands: named strategies, tried in order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sent_rl.errors import UserError, nearest

_NUMBER = re.compile(r"-?(?:\d+(?:,\d{3})*(?!\d)(?:\.\d+)?|\.\d+)(?:/\d+)?")
_BRACES = re.compile(r"\\f?boxed\s*\{|\\.|[{}]", re.DOTALL)
_FORMULAS = re.compile(r"\$[^$]+\$(?:(?:\s*,|\s*;|\s+and|\s+or|,\s+and)\s*\$[^$]+\$)*")
_END_OF_ANSWER = re.compile(r"\.(?:\s|$)|;|,\s+(?=[A-Za-z]{2})|\s+(?:so|because|since|where|which|hence|thus)\b")
_BETWEEN_BOXES = re.compile(r"[\s$,]*+(?:(?:and|or)|\\text\{\s*(?:and|or)\s*\})?[\s$,]*+")
_DISPLAY = re.compile(r"\\\[.*?\\\]|\$\$.*?\$\$", re.DOTALL)
_ANNOUNCED = re.compile(r"(?:(?:so|thus|therefore|hence),?\s+)?(?:(?:the\s+)?(?:final\s+)?answer(?:\s+is)?\s*:?\s*)+", re.IGNORECASE)
_THOUGHT = ("<think>", "</think>")


def _last_boxed(text: str) -> str | None:
    r"""The content of the last ``\boxed{...}`` whose braces are balanced, and of those that a comma or "and" joins to it. One pass."""
    open_braces: list[re.Match[str]] = []
    boxes: list[tuple[int, int, int]] = []
    for mark in _BRACES.finditer(text):
        if mark[0][-1] == "{" and mark[0] != "\\{":
            open_braces.append(mark)
        elif mark[0] == "}" and open_braces:
            opened = open_braces.pop()
            if len(opened[0]) > 1:
                boxes.append((opened.end(), mark.start(), opened.start()))
    if not boxes:
        return None
    boxes.sort()
    found = [text[boxes[-1][0] : boxes[-1][1]]]
    for (begin, end, _), (_, _, after) in zip(reversed(boxes[:-1]), reversed(boxes[1:]), strict=True):
        if not _BETWEEN_BOXES.fullmatch(text, end + 1, after):
            break
        found.append(text[begin:end])
    return ", ".join(reversed(found))


def _last_match(pattern: str) -> Callable[[str], str | None]:
    compiled = re.compile(pattern, re.IGNORECASE | re.MULTILINE)

    def find(text: str) -> str | None:
        matches = compiled.findall(text)
        return matches[-1] if matches else None

    return find


def _final_answer(text: str) -> str | None:
    """What follows the last "answer is": formulas in a row, else up to the end of the sentence; a point inside a number does not end it."""
    found = _ANSWER_IS(text)
    return None if found is None else _first_statement(found)


def _first_statement(found: str) -> str:
    """Without "the final answer is" before it, up to the end of the sentence."""
    found = _ANNOUNCED.sub("", found)
    display = _DISPLAY.match(found)
    if display:
        return display[0]
    formulas = _FORMULAS.match(found)
    return formulas[0] if formulas else _END_OF_ANSWER.split(found, maxsplit=1)[0]


_ANSWER_IS = _last_match(r"answer\s+is\s*:?+\s*+(\\\[(?:.|\n)*?\\\]|\$\$(?:.|\n)*?\$\$|[^\s][^\n]*)")
_ANSWER_LINE = _last_match(r"^[ \t]*(?:\*\*)?(?:final )?answer(?:\*\*)?[ \t]*:(?:\*\*)?[ \t]*(\S[^\n]*)")
_HASH = _last_match(r"####[ \t]*(\S[^\n]*)")


def _stated(find: Callable[[str], str | None]) -> Callable[[str], str | None]:
    """What a line holds; where it announces the answer again, only what is announced."""

    def stated(text: str) -> str | None:
        found = find(text)
        return _first_statement(found) if found is not None and _ANNOUNCED.match(found) else found

    return stated


def _last_number(text: str) -> str | None:
    matches = _NUMBER.findall(text)
    return matches[-1] if matches else None


STRATEGIES: dict[str, Callable[[str], str | None]] = {
    "boxed": _last_boxed,
    "hash": _stated(_HASH),
    "answer_line": _stated(_ANSWER_LINE),
    "final_answer": _final_answer,
    "first_line": lambda text: text.strip().split("\n")[0],
    "last_number": _last_number,
}
"""By name: ``boxed``, ``hash`` (``#### 5``), ``answer_line`` (``Answer: 5``), ``final_answer`` ("the final answer is 5"), ``first_line``,
and ``last_number`` as a last resort."""
DEFAULT_STRATEGIES = ("boxed", "hash", "answer_line", "final_answer", "last_number")


def after_thinking(text: str) -> str:
    """What a reasoning model says once it has thought: behind the last ``</think>``; nothing where a ``<think>`` was never closed."""
    begin, end = _THOUGHT
    after = text.rpartition(end)[2]
    return "" if begin in after else after


def extract(text: str, strategies: Sequence[str] = DEFAULT_STRATEGIES, *, thoughts: bool = False) -> str | None:
    """The final answer that a response states, or None.

    The first of ``strategies`` that finds something non-empty wins; ``STRATEGIES`` names them.

    Args:
        thoughts: look into ``<think>...</think>`` too, closed or not. By default only what stands behind it counts, and of a response
            whose thought was cut off nothing.

    Raises:
        UserError: an unknown strategy.
    """
    said = text if thoughts else after_thinking(text)
    for name in strategies:
        if name not in STRATEGIES:
            raise UserError(f"answers: unknown strategy {name!r}; {nearest(name, STRATEGIES)}")
        found = STRATEGIES[name](said)
        if found is not None and found.strip():
            return found.strip()
    return None
