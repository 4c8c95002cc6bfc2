"""The reward for verl: ``reward.custom_reward_function.path=pkg://sent_rl.trainers.verl.reward name=compute_score``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sent_rl.answers import STATED_STRATEGIES, extract, verdict


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    extract_with: Sequence[str] = STATED_STRATEGIES,
    thoughts: bool = False,
    opened: bool = False,
    **_: Any,
) -> dict[str, Any]:
    """1 for a right final answer, else 0: the evaluation's verdict.

    Args:
        extra_info: ``accept``, other right answers, and ``tolerance``, as ``sent convert --schema verl`` writes them.
        extract_with: strategies, e.g. ``+reward.custom_reward_function.reward_kwargs.extract_with=[boxed]``.
        thoughts: whether an answer inside ``<think>...</think>`` counts.
        opened: the prompt ends in an open ``<think>``: a response that does not close it has no answer. Trainer mode ``sent``
            sets it from the chat template; with another trainer set it yourself.
    """
    facts = extra_info or {}
    answer = extract(solution_str, list(extract_with), thoughts=thoughts, opened=opened)
    found = verdict([ground_truth, *map(str, facts.get("accept") or ())], answer, facts.get("tolerance"))
    return {"score": float(found == "same"), "acc": found == "same", "pred": answer or "", "verdict": found}
