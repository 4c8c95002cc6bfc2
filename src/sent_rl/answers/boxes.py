r"""The answer in the last box of a response: ``\boxed{5}``, ``\fbox{5}``, ``\boxed 5``."""

from __future__ import annotations

import re
from typing import NamedTuple

_BRACES = re.compile(r"\\{1,2}(?:boxed|fbox|framebox)(?![A-Za-z])(?:\s*\{)?|\\.|[{}]", re.DOTALL)
_UNBRACED = re.compile(r"\s*([^\s$][^$\n]*?)(?=\$|\\[)\]]|\n|\.\s|\.?$)")
_TEXT = r"\\(?:text|textrm|mathrm|mbox)\s*\{[\s,]*(?:and|or)?[\s,]*\}"
_JOINERS = rf"(?:[\s$,;&~]|\\q?quad(?![A-Za-z])|\\[,;:! ()\[\]\\]|{_TEXT}|(?<![A-Za-z])(?:and|or)(?![A-Za-z]))*+"
_NAME = r"[A-Za-z](?:_(?:\w|\{\w+\}))?(?:\([A-Za-z]\))?"
_BETWEEN = re.compile(rf"{_JOINERS}(?:({_NAME})\s*=[\s$]*)?")
_NAMED = re.compile(rf"(?<![A-Za-z\\])({_NAME})\s*=[\s$]*$")
_END_OF_SENTENCE = re.compile(r"[.!?](?:\s|$|\$|\\)|\n")
_LONGEST_NAME = 40


class _Box(NamedTuple):
    """``text[start:end]`` is inside, ``text[outer:after]`` is the box."""

    outer: int
    start: int
    end: int
    after: int


def last_boxed(text: str) -> str | None:
    r"""What the last box holds, with the boxes that are listed with it; None without a box.

    Boxes with nothing but ``,``, ``;``, "and", "or", spaces, ``$`` or line breaks between them are
    one list, also as ``x = \boxed{1}, y = \boxed{2}``. The empty text, which says that there is
    no answer, where another box stands in the same sentence and says something else, or where the
    last box is never closed.
    """
    boxes, unclosed = _boxes(text)
    if not boxes:
        return None if unclosed is None else ""
    if unclosed is not None and unclosed > boxes[-1].outer:
        return ""
    listed = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        between = _BETWEEN.fullmatch(text, box.after, listed[0].outer)
        if between is None:
            break
        listed.insert(0, box)
    rest = boxes[: len(boxes) - len(listed)]
    if rest and _contradicts(text, rest[-1], listed):
        return ""
    return ", ".join(_named(text, listed))


def _boxes(text: str) -> tuple[list[_Box], int | None]:
    """Closed boxes by where they begin, and the beginning of the last one that is never closed."""
    open_braces: list[re.Match[str]] = []
    boxes: list[_Box] = []
    unclosed: list[int] = []
    for mark in _BRACES.finditer(text):
        is_box = len(mark[0]) > 2
        if mark[0] == "{" or (is_box and mark[0][-1] == "{"):
            open_braces.append(mark)
        elif is_box:
            content = _UNBRACED.match(text, mark.end())
            if content is None:
                unclosed = [mark.start()]
            else:
                boxes.append(_Box(mark.start(), content.start(1), content.end(1), content.end(1)))
        elif mark[0] == "}" and open_braces:
            opened = open_braces.pop()
            if len(opened[0]) > 1:
                boxes.append(_Box(opened.start(), opened.end(), mark.start(), mark.end()))
    unclosed += [mark.start() for mark in open_braces if len(mark[0]) > 1]
    return sorted(boxes), max(unclosed, default=None)


def _contradicts(text: str, before: _Box, listed: list[_Box]) -> bool:
    """Whether a box in the same sentence says something else than what is listed after it."""
    if before.after > listed[0].outer:  # the one box is inside the other
        return False
    if _END_OF_SENTENCE.search(text, before.after, listed[0].outer):
        return False
    return _content(text, before) not in [_content(text, box) for box in listed]


def _content(text: str, box: _Box) -> str:
    return "".join(text[box.start : box.end].split())


def _named(text: str, boxes: list[_Box]) -> list[str]:
    """The contents; with ``name =`` before each where every one of several boxes has its name."""
    contents = [text[box.start : box.end] for box in boxes]
    names = [_NAMED.search(text, max(0, box.outer - _LONGEST_NAME), box.outer) for box in boxes]
    if len(boxes) > 1 and all(names):
        return [f"{name[1]} = {content}" for name, content in zip(names, contents, strict=True) if name]
    return contents
