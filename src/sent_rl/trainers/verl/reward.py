"""The reward for verl: ``reward.custom_reward_function.path=pkg://sent_rl.trainers.verl.reward name=compute_score``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sent_rl.answers import DEFAULT_STRATEGIES, extract, verdict


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    extract_with: Sequence[str] = DEFAULT_STRATEGIES,
    thoughts: bool = False,
    **_: Any,
) -> dict[str, Any]:
    """1 for a right final answer, else 0: the evaluation's verdict.

    Args:
        extra_info: ``accept``, other right answers, and ``tolerance``, as ``sent convert --schema verl`` writes them.
        extract_with: strategies, e.g. ``+reward.custom_reward_function.reward_kwargs.extract_with=[boxed]``.
    """
    facts = extra_info or {}
    answer = extract(solution_str, list(extract_with), thoughts=thoughts)
    found = verdict([ground_truth, *map(str, facts.get("accept") or ())], answer, facts.get("tolerance"))
    return {"score": float(found == "same"), "acc": found == "same", "pred": answer or "", "verdict": found}
