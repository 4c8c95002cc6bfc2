r"""Answer -> form: a number, an expression, a word, or a set, tuple, interval, matrix or equation of such.

Two answers with the same key say the same. A form that is not ``understood`` has its own text as key: another reader has to look at it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sent_rl.answers.brackets import depth_of, is_balanced, is_bracketed, is_matched, split
from sent_rl.answers.dressing import undress, without_thousands
from sent_rl.answers.expression import Evaluated, evaluate
from sent_rl.answers.names import SYMBOL, arguments, is_measure, is_ratio, is_symbol, stem, tuple_length
from sent_rl.answers.relations import MIRRORED, equation_key, inequality_key, relations_of
from sent_rl.answers.scalars import NotUnderstood, TooMuch, real
from sent_rl.answers.units import unitless, words_to_number

LONGEST = 2000
"""Longer answers are compared as text."""

_FUNCTION_POWER = re.compile(r"(\\[a-z]+\s*[_^])\s*(\d)\s+(?=\d)")
_DANGLING = re.compile(r"(?:\\(?:le|ge|ne|in|approx|to)(?![A-Za-z])|[<>=+]).*|.*(?:[<>=+-]|\\(?:le|ge|ne|in|approx|to))", re.DOTALL)
_BASED = re.compile(r"([0-9A-Za-z]+)_\{?(\d+)\}?")
_MATRIX = re.compile(r"\\begin\{([pbBvV]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)
_MIXED = re.compile(r"(-?)(\d+)\s*(?:\\[dt]?frac\s*\{?(\d+)\}?\s*\{?(\d+)\}?|\s(\d+)/(\d+))")
_WORDS = re.compile(r"[A-Za-z][A-Za-z '-]*")
_PLAIN_WORDS = re.compile(r"(?=.*[aeiouAEIOU])[A-Za-z]{4,}(?:[ '-]+[A-Za-z]+)*|(?=.*[a-z]{4})[A-Za-z]{1,3}(?: [A-Za-z]{2,})+")
_SHORT_WORDS = {"yes", "no", "odd", "all", "red", "dne"}
_CAPITALS = re.compile(r"[A-Z]{3,}")
"""SAS, HHT: an order of letters, and no product."""
_DEEPEST = 60
_CHOICE = re.compile(r"\(([A-E])\)\s+([^\s=+*/^-].*|-\s*\d.*)", re.DOTALL)
_APART = re.compile(r"(?<![\d^.])[\d.]*\d\s+\d|\^\s*\d+\s+\d+(?![\d.]*\s*[\^\\])")
"""A blank between two digits that is not the one between the powers of a product: 1 2, but not 2^6 3^5."""
_SET_OF_ALL = re.compile(rf"\\\{{\s*({SYMBOL})(?:\s*\\in\s*(?:\\mathbb\s*\{{?R\}}?|R))?\s*[:|]\s*([^:|]+)\\\}}")


@dataclass(frozen=True)
class Form:
    """What an answer was read as.

    Attributes:
        kind: number, expression, text, set, tuple, assignment, choice (a letter and its value), equation, inequality, ratio,
            infinity, broken (a relation that lacks a side, or is false), or monster: what nobody should work out.
        key: the same for answers that plainly say the same.
        parts: of a set (unordered), tuple, interval or matrix (ordered), or assignment.
        written: the parts of a list in the order in which they were written.
        label: the brackets of these, or the name that a value is given.
        value: of a real number; ``inexact``: written with a point, or irrational; ``percent``: with a per-cent sign.
        equation: key of the equation or inequality that it was read from.
        unitless: key of the number that it would be if a letter at its end were a unit.
    """

    kind: str
    key: str
    understood: bool = True
    parts: tuple[Form, ...] = ()
    written: tuple[Form, ...] = ()
    value: Any = None
    inexact: bool = False
    percent: bool = False
    equation: str | None = None
    label: str = ""
    unitless: str | None = None


def read(answer: str) -> Form:
    """The form of an answer; every text has one."""
    if len(answer) > LONGEST or depth_of(answer) > _DEEPEST:
        return Form("monster", answer.strip(), understood=False)
    return _read_short(answer)


@lru_cache(maxsize=1 << 12)
def _read_short(answer: str) -> Form:
    text, percent, in_words = undress(answer)
    if in_words and _WORDS.fullmatch(text) and len(text) > 1:
        return _word(text)
    if not is_balanced(text):
        return Form("broken", _bare(text))
    form = _members(text, percent)
    bare = unitless(text)
    if bare is not None and form.kind != "number":
        number = _members(bare)
        form = replace(form, unitless=number.key if number.kind == "number" else None)
    return form


def _members(text: str, percent: bool = False) -> Form:
    """One answer, or several with commas between them, whose order says nothing."""
    groups = split(text, (";",))
    if len(groups) > 1 and all("," in group and "=" in group for group in groups):
        return _solutions([_members(group.strip()) for group in groups])
    parts = [part.strip() for part in _listed(without_thousands(text))]
    if len(parts) == 1:
        return _single(parts[0], percent)
    names = [part.partition("=")[0].strip() for part in parts if "=" in part]
    forms = [_single(part) for part in parts]
    if len(set(names)) == len(parts) and len({stem(name) for name in names}) > 1:  # x = 2, y = 3 is not x = 3, y = 2
        forms = [_named(name, form) for name, form in zip(names, forms, strict=True)]
    return _set(forms)


def _solutions(groups: Sequence[Form]) -> Form:
    """``x = 1, y = 2; x = 3, y = 4`` as a set of tuples, where every group names the same unknowns in the same order."""
    named = [group.written for group in groups]
    if len({tuple(form.label for form in forms) for forms in named}) == 1 and all(f.kind == "assignment" for fs in named for f in fs):
        return _set([_ordered("()", [form.parts[0] for form in forms]) for forms in named])
    return _set(groups)


def _listed(text: str) -> list[str]:
    """Parts between commas. Where some commas have a blank behind them, those without one may be inside numbers: 1,000, 2,000."""
    if ", " not in text:
        return split(text, (",", ";"))
    parts = []
    for part in split(text, (", ", ";")):
        bare = without_thousands(part)
        parts += [bare] if bare != part else split(part, (",",))
    return parts


def _named(name: str, form: Form) -> Form:
    return Form("assignment", f"{name} = {form.key}", form.understood, (form,), label=name)


def _set(parts: Sequence[Form]) -> Form:
    flat = [inner for part in parts for inner in (part.parts if part.kind == "set" else (part,))]
    distinct = sorted({part.key: part for part in flat}.values(), key=lambda part: part.key)
    if len(distinct) == 1:
        return distinct[0]
    key = "{" + "; ".join(part.key for part in distinct) + "}"
    return Form("set", key, all(part.understood for part in distinct), tuple(distinct), tuple(flat))


def _ordered(brackets: str, parts: Sequence[Form]) -> Form:
    key = f"{brackets[0]}{'; '.join(part.key for part in parts)}{brackets[1]}"
    return Form("tuple", key, all(part.understood for part in parts), tuple(parts), tuple(parts), label=brackets)


def _single(text: str, percent: bool = False) -> Form:
    """An answer without a comma at its top level."""
    text = _spelled_out(text)
    choice = _CHOICE.fullmatch(text)
    if choice:
        letter, value = _single(choice[1]), _single(choice[2])
        return Form("choice", f"({choice[1]}) {value.key}", value.understood, (letter, value))
    if text.startswith("\\{") and text.endswith("\\}"):
        parts = [part.strip() for part in split(text[2:-2], (",", ";")) if part.strip()]
        return _as_set(_set([_single(part) for part in parts])) if parts else Form("set", "{}")
    if is_bracketed(text, "{", "}"):
        return _set([_single(part.strip()) for part in split(text[1:-1], (",", ";"))])
    united = split(text, ("\\cup",))
    if len(united) > 1:
        parts_of_union = [_single(part.strip()) for part in united]
        is_union = all(part.kind in ("set", "tuple") for part in parts_of_union)
        return _set(parts_of_union) if is_union else _unread(text)
    matrix = _MATRIX.fullmatch(text)
    if matrix:
        rows = [[_single(cell.strip()) for cell in row.split("&")] for row in matrix[2].split("\\\\") if row.strip()]
        return _ordered("||" if matrix[1][0] in "vV" else "[]", [_ordered("[]", row) for row in rows])
    if is_bracketed(text, "([", ")]"):
        parts = _listed(text[1:-1])
        if len(parts) > 1:
            return _ordered(text[0] + text[-1], [_single(part.strip()) for part in parts])
        if re.fullmatch(r"\([A-Za-z]\)", text):  # the letter of a choice
            return _single(text[1:-1])
    return _related(text, percent) if relations_of(text)[1] else _plain(text, percent)


def _spelled_out(text: str) -> str:
    """SymPy's ``Eq(a, b)`` and ``Matrix(...)``, and sets of all x with a property, in TeX's notation."""
    if text.startswith("Eq(") and is_bracketed(text[2:], "(", ")"):
        sides = split(text[3:-1], (",",))
        return " = ".join(sides) if len(sides) == 2 else text
    if text.startswith("Matrix([[") and text.endswith("]])"):
        rows = split(text[8:-2], (",",))
        return "\\begin{matrix}" + "\\\\".join(" & ".join(split(row.strip()[1:-1], (",",))) for row in rows) + "\\end{matrix}"
    builder = _SET_OF_ALL.fullmatch(text)
    return builder[2].strip() if builder and relations_of(builder[2])[1] else text


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
    in_digits = words_to_number(text)
    if in_digits is not None:
        text = str(in_digits)
    if text.lower() in _SHORT_WORDS or _CAPITALS.fullmatch(text) or (_PLAIN_WORDS.fullmatch(text) and not text.startswith("sqrt")):
        return _word(text)
    mixed = _MIXED.fullmatch(text)
    if mixed:
        sign, units, *fraction = (part for part in mixed.groups() if part is not None)
        text = f"{sign}({units}+{fraction[0]}/{fraction[1]})"
    text = _FUNCTION_POWER.sub(r"\1{\2} ", text)
    if _APART.search(text):  # a blank between two digits says something that is not read here
        return _unread(text)
    if text.endswith(("+", "-", "/", "^")) or not is_matched(text):  # an interval was read before
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


def _related(text: str, percent: bool) -> Form:
    """An equation, a membership or an inequality."""
    if _DANGLING.fullmatch(text):
        return Form("broken", _bare(text))
    sides, relations = relations_of(text)
    if set(relations) == {"="}:
        return _equation(sides, percent)
    if relations == ["\\in"]:
        return _single(sides[1])
    if relations == ["\\ne"]:
        return _compared(text, equation_key(*sides), "!=")
    if relations[-1] == "\\approx" and set(relations[:-1]) <= {"="}:
        return _rounded(text, sides)
    if set(relations) <= set(MIRRORED):
        return _inequality(text, sides, relations)
    return _unread(text)


def _equation(sides: Sequence[str], percent: bool = False) -> Form:
    r"""``x = 5`` says 5; ``y = 2x + 3`` says 2x + 3, and the equation; ``2x + y = 3`` the equation. Of a chain the last side counts."""
    key = equation_key(sides[-2], sides[-1])
    right = _single(sides[-1], percent)
    inner = [_single(side) for side in sides[1:-1]]
    if any(side.key != right.key for side in inner):  # 1 = 2 = 2, and "y = 5 for x = 2", say nothing as a whole
        return Form("broken", _bare("=".join(sides)), all(side.understood for side in inner))
    if _is_given(sides[0], right, sides[-1]):
        return replace(right, equation=key)
    first = _single(sides[0])
    if first.kind == "number" and re.fullmatch(r"[A-Za-z]", sides[-1]) and not inner:  # 5 = x
        return replace(first, equation=key)
    if inner or first.kind == right.kind == "number":
        return right if first.key == right.key else Form("broken", _bare("=".join(sides)), first.understood)
    if key is None:
        return _unread("=".join(sides))
    return Form("equation", f"{key} = 0", equation=key)


def _is_given(name: str, value: Form, text: str) -> bool:
    """Whether the left side of an equation only names the value on its right, whose text is ``text``."""
    if value.kind == "tuple" and tuple_length(name) == len(value.parts):
        return True
    if is_measure(name) and not is_symbol(name):
        return value.kind == "number"
    if is_ratio(name):
        return value.kind in ("number", "ratio")
    if value.kind == "expression" and any(letter not in text for letter in arguments(name)):
        return False  # f(y) = x + 1 is no function of x
    return is_symbol(name)


def _rounded(text: str, sides: Sequence[str]) -> Form:
    r"""``x = \sqrt2 \approx 1.414`` says \sqrt2, where the last side is the value in so many decimals."""
    exact = _equation(sides[:-1]) if len(sides) > 2 else _single(sides[0])
    near = _single(sides[-1])
    if is_symbol(sides[-2]) and near.kind == "number":
        return near
    if exact.kind != "number" or near.kind != "number":
        return _unread(text)
    decimals = len(sides[-1].strip().partition(".")[2])
    is_near = abs(real(exact.value) - real(near.value)) <= 0.501 * 10.0**-decimals
    return exact if is_near and exact.key != near.key else Form("broken", _bare(text))


def _compared(text: str, key: str | None, relation: str) -> Form:
    return _unread(text) if key is None else Form("inequality", f"{key} {relation} 0", equation=f"{key} {relation} 0")


def _inequality(text: str, sides: Sequence[str], relations: Sequence[str]) -> Form:
    r"""``a < x \le b`` and ``x > a`` as intervals; others of two sides by what their multiples share."""
    lower, upper = ("(", "-\\infty"), (")", "\\infty")
    key = inequality_key(sides[0], relations[0], sides[1]) if len(sides) == 2 else None
    place = next((i for i, side in enumerate(sides) if is_symbol(side)), None)
    if place is None or len(sides) > 3 or (len(sides) == 3 and place != 1):
        return _unread(text) if key is None else Form("inequality", key, equation=key)
    for i, bound in enumerate(sides):
        if i == place:
            continue
        relation = relations[min(i, place)] if i > place else MIRRORED[relations[i]]  # as in: name relation bound
        if relation.startswith(("<", "\\le")):
            upper = ("]" if relation == "\\le" else ")", bound)
        else:
            lower = ("[" if relation == "\\ge" else "(", bound)
    return replace(_ordered(lower[0] + upper[0], [_single(lower[1]), _single(upper[1])]), equation=key)
