"""The rewards for verl: ``reward.custom_reward_function.path=pkg://sent_rl.trainers.verl.reward``.

``name=compute_score`` compares answers; ``name=compute_user_score`` asks a function of the user's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sent_rl.answers import STATED_STRATEGIES, extract, verdict
from sent_rl.trainers.reward import reward_of_one


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str | Sequence[str],
    extra_info: Mapping[str, Any] | None = None,
    extract_with: Sequence[str] = STATED_STRATEGIES,
    thoughts: bool = False,
    opened: bool = False,
    **_: Any,
) -> dict[str, Any]:
    """1 for a right final answer, else 0: the evaluation's verdict.

    Args:
        ground_truth: the right answer; a list means alternatives, each of which is right.
        extra_info: ``accept``, other right answers, and ``tolerance``, as ``sent convert --schema verl`` writes them.
        extract_with: strategies, e.g. ``+reward.custom_reward_function.reward_kwargs.extract_with=[boxed]``.
        thoughts: whether an answer inside ``<think>...</think>`` counts.
        opened: the prompt ends in an open ``<think>``: a response that does not close it has no answer. Trainer mode ``sent``
            sets it from the chat template; with another trainer set it yourself.
    """
    facts = extra_info or {}
    answer = extract(solution_str, list(extract_with), thoughts=thoughts, opened=opened)
    found = verdict(_golds(ground_truth, facts), answer, facts.get("tolerance"))
    return {"score": float(found == "same"), "acc": found == "same", "pred": answer or "", "verdict": found}


def compute_user_score(
    data_source: str,
    solution_str: str,
    ground_truth: str | Sequence[str],
    extra_info: Mapping[str, Any] | None = None,
    *,
    function: str,
    folder: str = ".",
    chat: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """``score`` by a function of the user's (:mod:`sent_rl.trainers.reward`); the rest as :func:`compute_score` has it.

    Args:
        extra_info: as ``sent convert --schema verl`` writes it.
        function: import path, ``my_package.my_module:reward``.
        folder: where the module may lie besides the installed packages; every machine needs it there.
        chat: whether prompt and response are given as chat messages.
        options: of :func:`compute_score`, which still says what ``acc`` is.
    """
    facts = extra_info or {}
    golds = _golds(ground_truth, facts)
    columns = {
        "id": facts.get("id"),
        "answer": golds[0],
        "golds": golds,
        "tolerance": facts.get("tolerance"),
        "source": data_source,
        "metadata": facts.get("metadata"),
    }
    prompt, completion = str(facts.get("prompt") or ""), solution_str
    if chat:
        score = reward_of_one(function, folder, _message("user", prompt), _message("assistant", completion), columns)
    else:
        score = reward_of_one(function, folder, prompt, completion, columns)
    return {**compute_score(data_source, solution_str, golds, facts, **options), "score": score}


def _golds(ground_truth: str | Sequence[str], facts: Mapping[str, Any]) -> list[str]:
    # verl reads parquet through pandas: a list may come as an array, whose truth value is an error
    first = [ground_truth] if isinstance(ground_truth, str) else [str(each) for each in ground_truth]
    accepted = facts.get("accept")
    others = [] if accepted is None else [str(each) for each in accepted]
    return list(dict.fromkeys([*first, *others]))


def _message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]
