r"""The last formula of a text: ``$...$`` and its like, or mathematics in plain text (``x > 5``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LONGEST = 4000
"""Only so many characters from the end are looked at."""

_DELIMITED = re.compile(
    r"\$\$(?P<display>.+?)\$\$|\\\[(?P<brackets>.+?)\\\]|\\\((?P<parentheses>.+?)\\\)"
    r"|(?<!\\)\$(?P<dollars>(?:\\.|[^$\\])+?)\$(?!\d)",
    re.DOTALL,
)
_BETWEEN_FORMULAS = re.compile(r"\s*(?:[,;]|,?\s*(?:and|or)\b)\s*")
_ENDS_IN_POINT = re.compile(r"\.\s*(?:\$+|\\[\])])$")
_OR = re.compile(r"\s*,?\s*or\s+")
_END_OF_SENTENCE = re.compile(r"[.!?](?:\s|$)|\n\s*\n")
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\d.]*\d)|\.\d+"
_TOKEN = re.compile(
    rf"""(?P<skip><<[^<>]*>>|</?[A-Za-z|][^<>]*>|\*\*(?=\W|$))
      | (?P<whole>\\begin\{{(\w+)\}}.*?\\end\{{\3\}})
      | (?P<command>\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname)\s*\{{[^{{}}]*\}}
          |\\[A-Za-z]+|\\[%,;:!\ ])
      | (?P<open>\\\{{|[(\[{{])
      | (?P<close>\\\}}|[)\]}}])
      | (?P<number>(?<![A-Za-z\d])(?:{_NUMBER}))
      | (?P<word>[A-Za-z]{{2,}})
      | (?P<letter>[A-Za-z](?![A-Za-z]))
      | (?P<sign>\*\*|(?<=\d):(?=\d)|[-+*/^_=<>|&'%\u2212\u00d7\u00b7\u00f7\u2264\u2265\u2260\u00b0\u221a\u03c0\u221e])
      | (?P<currency>\\?\$(?=\d))
      | (?P<comma>,)
      | (?P<line>\s*\n\s*)
      | (?P<blank>\s+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_FUNCTIONS = {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "log", "ln"}
_FUNCTIONS |= {"exp", "sqrt", "pi", "inf", "infty"}
_OPERANDS = ("whole", "command", "open", "number", "letter")
_NAME = re.compile(r"\\?[A-Za-z]|[A-Za-z]\([A-Za-z]\)|[A-Z]+")
_ENDS_OPEN = re.compile(r"[-+*/^_=<>,\s]+$")
_PLAIN_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,}")
_SET_AS_TEXT = re.compile(r"\\[A-Za-z]+\s*\{[A-Za-z\s,.]*\}|\\[A-Za-z]+")


class _Span(NamedTuple):
    """A piece of the text: ``name`` is a lone letter, ``number`` a number, else a formula."""

    start: int
    end: int
    kind: str
    delimited: bool


def last_formula(text: str) -> str | None:
    """The last formula, whole; None where the text ends in a bare number, or holds neither.

    A formula between dollars counts up to the end of its sentence, whatever numbers follow there.
    """
    tail = text[-_LONGEST:]
    formulas = _delimited(tail)
    plain = [span for span in _plain(tail) if not _inside(span, formulas)]
    found = sorted(span for span in (*formulas, *plain) if span.kind != "name")
    if not found:
        return None
    last = found[-1]
    start = _start_of_choice(tail, found)
    if last.kind == "number" and not last.delimited and start == last.start:
        earlier = [span for span in found if span.delimited and span.kind != "number"]
        if (
            not earlier
            or _END_OF_SENTENCE.search(tail, earlier[-1].end, last.start)
            or _ENDS_IN_POINT.search(tail, earlier[-1].start, earlier[-1].end)
        ):
            return None
        last = earlier[-1]
        start = last.start
    return tail[start : last.end] if not last.delimited else _with_joined(tail, last, formulas)


def _start_of_choice(text: str, found: list[_Span]) -> int:
    """Where the last of several answers with "or" between them begins: ``x = 5 or x = 6`` is no answer 6."""
    start = found[-1].start
    for span in reversed(found[:-1]):
        if span.delimited or not _OR.fullmatch(text, span.end, start):
            break
        start = span.start
    return start


def _delimited(text: str) -> list[_Span]:
    found, position = [], 0
    while match := _DELIMITED.search(text, position):
        content = match[match.lastgroup or 0]
        if match.lastgroup == "dollars" and _is_money(content):
            position = match.start() + 1
            continue
        bare = content.strip()
        kind = "name" if _NAME.fullmatch(bare) else "formula"
        found.append(_Span(match.start(), match.end(), kind, delimited=True))
        position = match.end()
    if len(found) == 1 and text[found[0].end :].strip(" .\n") == text[: found[0].start].strip() == "":
        return [found[0]._replace(kind="formula")]  # a lone letter that is all there is
    return found


def _is_money(content: str) -> bool:
    """Whether what stands between two dollars is the text between two amounts: ``$5 and $6``."""
    if not content[:1].isdigit():
        return False
    bare = _SET_AS_TEXT.sub(" ", content)
    return _PLAIN_WORD.search(bare) is not None or _ENDS_OPEN.search(content.rstrip()) is not None


def _with_joined(text: str, last: _Span, formulas: list[_Span]) -> str:
    """The formula with those that are listed before it: ``$1$, $2$ and $3$``."""
    start = last.start
    for span in reversed(formulas[: formulas.index(last)]):
        if not _BETWEEN_FORMULAS.fullmatch(text, span.end, start):
            break
        start = span.start
    return text[start : last.end]


def _inside(span: _Span, formulas: list[_Span]) -> bool:
    return any(formula.start <= span.start < formula.end for formula in formulas)


def _plain(text: str) -> Iterator[_Span]:
    """Runs of mathematics outside of dollars: operands joined by signs, brackets and commands."""
    run: list[re.Match[str]] = []
    depth, blank = 0, False
    for token in _TOKEN.finditer(text):
        kind = "letter" if token.lastgroup == "word" and token[0] in _FUNCTIONS else token.lastgroup
        if kind == "blank" or (kind == "line" and depth > 0):
            blank = True
            continue
        joins = _joins(run, str(kind), depth, blank)
        if not joins:
            yield from _finished(run, depth)
            run, depth = [], 0
        if joins or kind in _OPERANDS or token[0] in "-\u2212\u221a\u03c0\u221e":
            run.append(token)
            depth += (kind == "open") - (kind == "close")
        blank = False
    yield from _finished(run, depth)


def _joins(run: list[re.Match[str]], kind: str, depth: int, blank: bool) -> bool:
    """Whether a token goes on with the run."""
    if not run:
        return False
    if kind == "sign" or (kind == "comma" and depth > 0):
        return True
    if kind == "close":
        return depth > 0
    if kind == "currency":
        return run[-1].lastgroup == "sign"
    if kind not in _OPERANDS:
        return False
    ended = run[-1].lastgroup in ("number", "letter", "close", "whole")
    return depth > 0 or not (blank and ended) or kind == "command"


def _finished(run: list[re.Match[str]], depth: int) -> Iterator[_Span]:
    """The run as a span, if it is one: its brackets are closed and it says something."""
    while run and (run[-1].lastgroup in ("sign", "comma", "currency") and run[-1][0] not in "%'\u00b0"):
        run = run[:-1]
    if not run or depth != 0:
        return
    kinds = {token.lastgroup for token in run if token[0] not in "-\u2212%"}
    if not kinds & {"number", "command", "whole"}:
        return
    kind = "number" if kinds == {"number"} and sum(t.lastgroup == "number" for t in run) == 1 else "formula"
    yield _Span(run[0].start(), run[-1].end(), kind, delimited=False)
