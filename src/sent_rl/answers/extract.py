r"""Where in a response the final answer stands: named strategies, tried in order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sent_rl.answers.boxes import last_boxed
from sent_rl.answers.formulas import last_formula
from sent_rl.errors import UserError, nearest

_NUMBER = re.compile(r"(?:(?<![A-Za-z])|(?<=\$))-?(?:\d+(?:,\d{3})*(?!\d)(?:\.\d+)?|\.\d+)(?:/\d+)?\s?%?")
_FORMULA = r"(?:\$[^$]+\$|\\\((?:[^\\]|\\[^)])+\\\))"
_FORMULAS = re.compile(rf"{_FORMULA}(?:(?:\s*,|\s*;|\s+and|\s+or|,\s+and|,\s+or)\s*{_FORMULA})*")
_END_OF_ANSWER = re.compile(
    r"\.(?:\s|$)|;(?!\s*(?:or|and)\b)|,\s+(?!(?:or|and)\b)(?=[A-Za-z]{2})"
    r"|\s+(?:so|because|since|where|which|hence|thus)\b"
)
_DISPLAY = re.compile(r"\\\[.*?\\\]|\$\$.*?\$\$", re.DOTALL)
_ANNOUNCED = re.compile(
    r"(?:(?:so|thus|therefore|hence),?\s+)?(?:(?:the\s+)?(?:final\s+)?answer(?:\s+is)?\s*:?\s*)+",
    re.IGNORECASE,
)
_SUBJECT = re.compile(r"(?:the|it|this|that|there|our)\b[^.\n]*?\b(?:is|are|equals)\s*:?\s+", re.IGNORECASE)
_PROSE = re.compile(r"(?!the\b|it\b|this\b|that\b|there\b|our\b|so\b|answer\b)(?:[A-Za-z]+\s+){3,}[^\n$]*\d", re.IGNORECASE)
"""A sentence with a number somewhere: it is no answer in a format."""
_THOUGHT = ("<think>", "</think>")
_END_OF_RESPONSE = re.compile(
    r"(?<=\S)\s*(?:<\|(?:im_end|im_start|end|endoftext|end_of_text|eot_id|eom_id|start_header_id)\|>"
    r"|</s>|<eos>|<end_of_turn>|<\uff5cend\u2581of\u2581sentence\uff5c>)"
)


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
    found = _SUBJECT.sub("", _ANNOUNCED.sub("", found), count=1)
    display = _DISPLAY.match(found)
    if display:
        return display[0]
    formulas = _FORMULAS.match(found)
    return formulas[0] if formulas else _END_OF_ANSWER.split(found, maxsplit=1)[0]


_ANSWER_IS = _last_match(r"answer\s+is\s*:?+\s*+(\\\[(?:.|\n)*?\\\]|\$\$(?:.|\n)*?\$\$|[^\s][^\n]*)")
_ANSWER_LINE = _last_match(r"(?:^|(?<=[.!?]) )[ \t#]*(?:\*\*)?(?:final )?answer(?:\*\*)?[ \t]*:(?:\*\*)?[ \t]*(\S[^\n]*)")
_ANSWER_TAG = _last_match(r"<answer>((?:(?!<answer>)(?:.|\n))*?)</answer>")
_HASH = _last_match(r"####[ \t]*(\S[^\n]*)")


def _stated(find: Callable[[str], str | None]) -> Callable[[str], str | None]:
    """What a line holds; where it is a sentence that announces the answer, only what is announced."""

    def stated(text: str) -> str | None:
        found = find(text)
        if found is None:
            return None
        found = found.strip()
        if _PROSE.match(found):
            return None
        return _first_statement(found) if _ANNOUNCED.match(found) or _SUBJECT.match(found) else found

    return stated


def _last_number(text: str) -> str | None:
    matches = _NUMBER.findall(text)
    return matches[-1] if matches else None


STRATEGIES: dict[str, Callable[[str], str | None]] = {
    "boxed": last_boxed,
    "hash": _stated(_HASH),
    "answer_tag": _stated(_ANSWER_TAG),
    "answer_line": _stated(_ANSWER_LINE),
    "final_answer": _final_answer,
    "first_line": lambda text: text.strip().split("\n")[0] or None,
    "last_formula": last_formula,
    "last_number": _last_number,
}
r"""By name: ``boxed``, ``hash`` (``#### 5``), ``answer_tag`` (``<answer>5</answer>``), ``answer_line``
(``Answer: 5``), ``final_answer`` ("the final answer is 5"), ``first_line``,
``last_formula`` (``so $x = \frac{3}{4}$``) and ``last_number``.

None says that a strategy has nothing to read; the empty text that it found no single answer."""
LOOSE_STRATEGIES = ("final_answer", "last_formula", "last_number")
"""Strategies that also find an answer in a response that was cut before it gave one."""
STATED_STRATEGIES = ("boxed", "hash", "answer_tag", "answer_line")
"""What the training reward and the scores read: an answer in a format that a prompt asks for."""
DEFAULT_STRATEGIES = (*STATED_STRATEGIES, *LOOSE_STRATEGIES)
"""What the evaluation reads."""


def ends_in_thought(prompt: str) -> bool:
    """Whether a rendered prompt ends in an open ``<think>``, as DeepSeek-R1-Distill's template does."""
    return prompt.rstrip().endswith(_THOUGHT[0])


def after_thinking(text: str, opened: bool = False) -> str:
    """What a reasoning model says once it has thought: behind the last ``</think>``; nothing where a thought was never closed.

    Args:
        opened: the prompt ends in ``<think>``, so that the response begins inside a thought.
    """
    begin, end = _THOUGHT
    _, closed, after = text.rpartition(end)
    return "" if begin in after or (opened and not closed) else after


def extract(text: str, strategies: Sequence[str] = DEFAULT_STRATEGIES, *, thoughts: bool = False, opened: bool = False) -> str | None:
    """The final answer that a response states, or None.

    The first of ``strategies`` that finds something decides; ``STRATEGIES`` names them. Nothing
    behind a token that ends a response, such as ``<|im_end|>``, is part of it.

    Args:
        thoughts: look into ``<think>...</think>`` too, closed or not. By default only what stands
            behind it counts, and of a response whose thought was cut off nothing.
        opened: the prompt ends in ``<think>`` (:func:`ends_in_thought`): until the response closes
            it, everything in it is a thought.

    Raises:
        UserError: an unknown strategy.
    """
    ended = _END_OF_RESPONSE.split(text, maxsplit=1)[0]
    said = ended if thoughts else after_thinking(ended, opened)
    for name in strategies:
        if name not in STRATEGIES:
            raise UserError(f"answers: unknown strategy {name!r}; {nearest(name, STRATEGIES)}")
        found = STRATEGIES[name](said)
        if found is not None:
            return found.strip() or None
    return None
