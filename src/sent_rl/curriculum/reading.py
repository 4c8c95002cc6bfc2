"""Which answer of a response counts for semantic entropy: one rule for scores and online curricula."""

from __future__ import annotations

from collections.abc import Sequence

from sent_rl.answers import LOOSE_STRATEGIES, extract


def counted_answer(text: str, finished: bool, strategies: Sequence[str], *, thoughts: bool = False, opened: bool = False) -> str | None:
    """The final answer of a response, or None.

    Of a response that was cut off only an answer in a format counts, and only a whole one: where
    ``#### 12`` is the end of the text, ``#### 128`` may have been meant.

    Args:
        finished: the response ended by itself.
        strategies, thoughts, opened: as of :func:`sent_rl.answers.extract`.
    """
    if finished:
        return extract(text, strategies, thoughts=thoughts, opened=opened)
    strict = [name for name in strategies if name not in LOOSE_STRATEGIES]
    answer = extract(text, strict, thoughts=thoughts, opened=opened)
    return None if answer is None or text.rstrip().endswith(answer) else answer
