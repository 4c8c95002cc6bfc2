"""The brackets of a text: how deep they go, whether they match, and what stands outside of them."""

from __future__ import annotations

from collections.abc import Sequence

_OPEN, _CLOSE = "([{", ")]}"


def depth_of(text: str) -> int:
    """How many brackets are open at most."""
    depth = deepest = 0
    for character in text:
        depth += (character in _OPEN) - (character in _CLOSE)
        deepest = max(deepest, depth)
    return deepest


def is_bracketed(text: str, opening: str, closing: str) -> bool:
    """Whether the first bracket closes with the last character; ( and [ may be closed by either of ) and ]."""
    if len(text) < 3 or text[0] not in opening or text[-1] not in closing:
        return False
    depth = 0
    for position, character in enumerate(text):
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth == 0:
            return position == len(text) - 1
    return False


def is_balanced(text: str) -> bool:
    """Whether every bracket is closed, by one of any kind: [0, 1) is."""
    depth = 0
    for character in text:
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth < 0:
            return False
    return depth == 0


def is_matched(text: str) -> bool:
    """Whether every bracket is closed by its own kind."""
    opened: list[str] = []
    for character in text:
        if character in _OPEN:
            opened.append(character)
        elif character in _CLOSE and (not opened or opened.pop() != _OPEN[_CLOSE.index(character)]):
            return False
    return not opened


def split(text: str, separators: Sequence[str]) -> list[str]:
    """Parts between separators that stand outside of all brackets."""
    parts, depth, start, position = [], 0, 0, 0
    while position < len(text):
        found = next((s for s in separators if text.startswith(s, position)), None) if depth == 0 else None
        if found:
            parts.append(text[start:position])
            position += len(found)
            start = position
            continue
        depth += (text[position] in _OPEN) - (text[position] in _CLOSE)
        position += 1
    return [part for part in (*parts, text[start:]) if part.strip()] or [text]
