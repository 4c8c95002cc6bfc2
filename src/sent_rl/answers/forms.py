r"""Answer -> form: a number, an expression, a word, or a set, tuple, interval, matrix or equation of such.

Two answers with the same key say the same. A form that is not ``understood`` has its own text as key: another reader has to look at it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sent_rl.answers.dressing import undress, unitless, without_thousands
from sent_rl.answers.expression import Evaluated, evaluate, minus, proportional
from sent_rl.answers.scalars import NotUnderstood, TooMuch

LONGEST = 2000
"""Longer answers are compared as text."""

_RELATION = re.compile(r"(\\(?:le|ge|neq?|in|to)(?![A-Za-z])|[<>=])")
_SYMBOL = r"(?:\\?[A-Za-z]|\\[A-Za-z]+)(?:_(?:\{[^{}]*\}|\w))?'*"
_NAME = re.compile(rf"{_SYMBOL}\s*(?:\(\s*{_SYMBOL}(?:\s*,\s*{_SYMBOL})*\s*\))?|[A-Za-z]*[a-z]{{3}}[A-Za-z ]*")
"""What a value is given: x, x_1, f(x), or a word."""
_DANGLING = re.compile(r"(?:\\(?:le|ge|neq?|in)(?![A-Za-z])|[<>=+]).*|.*(?:[<>=+-]|\\(?:le|ge|neq?|in))", re.DOTALL)
_BASED = re.compile(r"([0-9A-Za-z]+)_\{?(\d+)\}?")
_MATRIX = re.compile(r"\\begin\{([pbv]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)
_MIXED = re.compile(r"(-?)(\d+)\s*(?:\\[dt]?frac\s*\{?(\d+)\}?\s*\{?(\d+)\}?|\s(\d+)/(\d+))")
_WORDS = re.compile(r"[A-Za-z][A-Za-z '-]*")
_PLAIN_WORDS = re.compile(r"(?=.*[aeiouAEIOU])[A-Za-z]{4,}(?:[ '-]+[A-Za-z]+)*")
_SHORT_WORDS = {"yes", "no", "odd", "all", "red"}
_DEEPEST = 60
_OPEN, _CLOSE = "([{", ")]}"
_MIRRORED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


@dataclass(frozen=True)
class Form:
    """What an answer was read as.

    Attributes:
        kind: number, expression, text, set, tuple, assignment, equation, ratio, infinity, broken (a relation that lacks a side), or
            monster: what nobody should work out.
        key: the same for answers that plainly say the same.
        parts: of a set (unordered), tuple, interval or matrix (ordered), or assignment.
        label: the brackets of these, or the name that a value is given.
        value: of a real number; ``inexact``: written with a point, or irrational; ``percent``: with a per-cent sign.
        equation: key of the equation that it was the right side of.
        unitless: key of the number that it would be if a letter at its end were a unit.
    """

    kind: str
    key: str
    understood: bool = True
    parts: tuple[Form, ...] = ()
    value: Any = None
    inexact: bool = False
    percent: bool = False
    equation: str | None = None
    label: str = ""
    unitless: str | None = None


def read(answer: str) -> Form:
    """The form of an answer; every text has one."""
    if len(answer) > LONGEST or _depth(answer) > _DEEPEST:
        return Form("monster", answer.strip(), understood=False)
    return _read_short(answer)


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in _OPEN) - (character in _CLOSE)
        deepest = max(deepest, depth)
    return deepest


@lru_cache(maxsize=1 << 12)
def _read_short(answer: str) -> Form:
    text, percent, in_words = undress(answer)
    if in_words and _WORDS.fullmatch(text) and len(text) > 1:
        return _word(text)
    if not _is_balanced(text):
        return Form("broken", _bare(text))
    form = _members(text, percent)
    bare = unitless(text)
    if bare is not None and form.kind != "number":
        number = _members(bare)
        form = replace(form, unitless=number.key if number.kind == "number" else None)
    return form


def _members(text: str, percent: bool = False) -> Form:
    """One answer, or several with commas between them, whose order says nothing."""
    parts = [part.strip() for part in _listed(without_thousands(text))]
    if len(parts) == 1:
        return _single(parts[0], percent)
    names = [part.partition("=")[0].strip() for part in parts if "=" in part]
    forms = [_single(part) for part in parts]
    if len(set(names)) == len(parts):  # x = 2, y = 3 is not x = 3, y = 2
        forms = [_named(name, form) for name, form in zip(names, forms, strict=True)]
    return _set(forms)


def _listed(text: str) -> list[str]:
    """Parts between commas. Where some commas have a blank behind them, those without one may be inside numbers: 1,000, 2,000."""
    if ", " not in text:
        return _split(text, (",", ";"))
    parts = []
    for part in _split(text, (", ", ";")):
        bare = without_thousands(part)
        parts += [bare] if bare != part else _split(part, (",",))
    return parts


def _named(name: str, form: Form) -> Form:
    return Form("assignment", f"{name} = {form.key}", form.understood, (form,), label=name)


def _set(parts: Sequence[Form]) -> Form:
    flat = [inner for part in parts for inner in (part.parts if part.kind == "set" else (part,))]
    distinct = sorted({part.key: part for part in flat}.values(), key=lambda part: part.key)
    if len(distinct) == 1:
        return distinct[0]
    return Form("set", "{" + "; ".join(part.key for part in distinct) + "}", all(p.understood for p in distinct), tuple(distinct))


def _ordered(brackets: str, parts: Sequence[Form]) -> Form:
    key = f"{brackets[0]}{'; '.join(part.key for part in parts)}{brackets[1]}"
    return Form("tuple", key, all(part.understood for part in parts), tuple(parts), label=brackets)


def _single(text: str, percent: bool = False) -> Form:
    """An answer without a comma at its top level."""
    if text.startswith("\\{") and text.endswith("\\}"):
        parts = [part.strip() for part in _split(text[2:-2], (",", ";")) if part.strip()]
        return _as_set(_set([_single(part) for part in parts])) if parts else Form("set", "{}")
    if _is_bracketed(text, "{", "}"):
        return _set([_single(part.strip()) for part in _split(text[1:-1], (",", ";"))])
    union = _split(text, ("\\cup",))
    if len(union) > 1:
        return _set([_single(part.strip()) for part in union])
    matrix = _MATRIX.fullmatch(text)
    if matrix:
        rows = [[_single(cell.strip()) for cell in row.split("&")] for row in matrix[2].split("\\\\") if row.strip()]
        return _ordered("[]", [_ordered("[]", row) for row in rows])
    if _is_bracketed(text, "([", ")]"):
        parts = _listed(text[1:-1])
        if len(parts) > 1:
            return _ordered(text[0] + text[-1], [_single(part.strip()) for part in parts])
        if re.fullmatch(r"\([A-Za-z]\)", text):  # the letter of a choice
            return _single(text[1:-1])
    return _related(text) if _RELATION.search(text) else _plain(text, percent)


def _as_set(form: Form) -> Form:
    return form if form.kind == "set" else Form("set", f"{{{form.key}}}", form.understood, (form,))


def _plain(text: str, percent: bool) -> Form:
    """A number, an expression or a word."""
    if text.replace("+", "") in ("\\infty", "-\\infty"):
        return Form("infinity", text.replace("+", ""))
    if "\\pm" in text:
        return _set([_plain(text.replace("\\pm", sign), percent) for sign in ("+", "-")])
    based = _BASED.fullmatch(text)
    if based and based[1][0].isdigit():
        return Form("text", f"{based[1].lstrip('0')} base {based[2]}")
    if text.count(":") == 1 and re.fullmatch(r"[\d.\s]+:[\d.\s]+", text):
        above, _, below = text.partition(":")
        return Form("ratio", _plain(f"({above})/({below})", False).key + ":1")
    if text.lower() in _SHORT_WORDS or (_PLAIN_WORDS.fullmatch(text) and not text.startswith("sqrt")):
        return _word(text)
    mixed = _MIXED.fullmatch(text)
    if mixed:
        sign, units, *fraction = (part for part in mixed.groups() if part is not None)
        text = f"{sign}({units}+{fraction[0]}/{fraction[1]})"
    elif re.search(r"\d\s+\d", text):  # a blank between two digits says something that is not read here
        return _unread(text)
    if text.endswith(("+", "-", "/", "^")):
        return Form("broken", _bare(text))
    try:
        found = evaluate(text)
    except TooMuch:
        return Form("monster", _bare(text), understood=False)
    except NotUnderstood:
        return _unread(text)
    return _evaluated(found, text, percent)


def _evaluated(found: Evaluated, text: str, percent: bool) -> Form:
    if found.value is None:
        return Form("expression", found.key)
    written = re.search(r"\d\.\d|^\.\d|\D\.\d", text) is not None
    return Form("number", found.key, value=found.value, inexact=written or "." in found.key, percent=percent)


def _word(text: str) -> Form:
    return Form("text", " ".join(text.casefold().split()))


def _unread(text: str) -> Form:
    return Form("text", _bare(text), understood=False)


def _bare(text: str) -> str:
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


def _related(text: str) -> Form:
    """An equation, a membership or an inequality."""
    if _DANGLING.fullmatch(text):
        return Form("broken", _bare(text))
    pieces = [piece.strip() for piece in _RELATION.split(text)]
    sides, relations = pieces[::2], pieces[1::2]
    if set(relations) == {"="}:
        return _equation(sides)
    if relations == ["\\in"]:
        return _single(sides[1])
    if set(relations) <= set(_MIRRORED):
        return _inequality(sides, relations)
    return _unread(text)


def _equation(sides: Sequence[str]) -> Form:
    r"""``x = 5`` says 5; ``y = 2x + 3`` says 2x + 3, and the equation; ``2x + y = 3`` the equation. Of a chain the last side counts."""
    key = None
    with suppress(NotUnderstood):
        key = proportional(minus(evaluate(sides[-2]).at, evaluate(sides[-1]).at))
    right = _single(sides[-1])
    inner = [_single(side) for side in sides[1:-1]]
    if any(side.key != right.key for side in inner):  # 1 = 2 = 2, and "y = 5 for x = 2", say nothing as a whole
        return Form("broken", _bare("=".join(sides)), all(side.understood for side in inner))
    if _NAME.fullmatch(sides[0]) and (right.kind == "number" or not sides[0][1:2].isalpha() or sides[0].startswith("\\")):
        return replace(right, equation=key)
    first = _single(sides[0])
    if inner:
        return right if first.key == right.key else Form("broken", _bare("=".join(sides)), first.understood)
    if key is None:
        return _unread("=".join(sides))
    return Form("equation", f"{key} = 0", equation=key)


def _inequality(sides: Sequence[str], relations: Sequence[str]) -> Form:
    r"""``a < x \le b`` and ``x > a`` as intervals."""
    lower, upper = ("(", "-\\infty"), (")", "\\infty")
    place = next((i for i, side in enumerate(sides) if _NAME.fullmatch(side)), None)
    if place is None or len(sides) > 3 or (len(sides) == 3 and place != 1):
        return _unread("".join(x for pair in zip(sides, [*relations, ""], strict=True) for x in pair))
    for i, bound in enumerate(sides):
        if i == place:
            continue
        relation = relations[min(i, place)] if i > place else _MIRRORED[relations[i]]  # as in: name relation bound
        if relation.startswith(("<", "\\le")):
            upper = ("]" if relation == "\\le" else ")", bound)
        else:
            lower = ("[" if relation == "\\ge" else "(", bound)
    return _ordered(lower[0] + upper[0], [_single(lower[1]), _single(upper[1])])


def _is_bracketed(text: str, opening: str, closing: str) -> bool:
    """Whether the first bracket closes with the last character; ( and [ may be closed by either of ) and ]."""
    if len(text) < 3 or text[0] not in opening or text[-1] not in closing:
        return False
    depth = 0
    for position, character in enumerate(text):
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth == 0:
            return position == len(text) - 1
    return False


def _is_balanced(text: str) -> bool:
    """Whether every bracket is closed, by one of any kind: [0, 1) is."""
    depth = 0
    for character in text:
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth < 0:
            return False
    return depth == 0


def _split(text: str, separators: Sequence[str]) -> list[str]:
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
