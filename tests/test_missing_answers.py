"""Responses without an answer: what they do to semantic entropy, to the order, and what is said about them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trl_helpers import SENT, ours, tasks

from sent_rl import pipeline
from sent_rl.config import load_config
from sent_rl.curriculum import SCORES, counted_answer, make_stages, semantic_entropy
from sent_rl.files import read_facts, read_table, write_table
from sent_rl.problems import Problem
from sent_rl.rollouts import Prompt, Response, Sampling
from sent_rl.trainers.trl.stages import ROW
from sent_rl.trainers.verl.curriculum import finished

RIGHT, WRONG = Response("so \\boxed{4}", 9, True), Response("so \\boxed{5}", 9, True)
CUT, UNREADABLE = Response("first we look at 4", 64, False), Response("I do not know", 5, True)
CUT_LATE = Response("so \\boxed{4}. Now the next question: what", 64, False)


class Drawn:
    """An engine that has these responses to every prompt."""

    batch_size = 4096

    def __init__(self, responses: dict[str, Sequence[Response]]) -> None:
        self.responses = responses

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, logprobs: bool = False) -> list[list[Response]]:
        return [list(self.responses[str(prompt).strip()]) for prompt in prompts]


Score = Callable[[dict[str, Sequence[Response]]], tuple[Path, str]]


@pytest.fixture
def score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Score:
    """Scores these responses, question -> 16 of them, to questions whose answer is 4: the table, and what was printed."""

    def run(responses: dict[str, Sequence[Response]]) -> tuple[Path, str]:
        monkeypatch.setattr(pipeline, "lazy_engine", lambda *_: Drawn(responses))
        monkeypatch.setattr(pipeline, "check_engine", lambda *_, **__: None)
        out = tmp_path / "scores.parquet"
        settings = ["score.samples=16", "score.sampling.max_tokens=64", "stage.stages=2"]
        pipeline.score(load_config(None, settings), [Problem(q, q, "4") for q in responses], out)
        return out, " ".join(capsys.readouterr().out.split())

    return run


def test_a_problem_that_nobody_answered_is_not_easy(score: Score, tmp_path: Path) -> None:
    scores, _ = score(
        {
            "cut off": [CUT] * 16,
            "unreadable": [UNREADABLE] * 14 + [WRONG] * 2,
            "solved": [RIGHT] * 16,
            "half solved": [RIGHT] * 10 + [CUT] * 6,
        }
    )
    rows = {row["id"]: row for row in read_table(scores)}
    assert rows["cut off"]["semantic_entropy"] == pytest.approx(math.log(16), abs=1e-12)
    assert rows["cut off"]["clusters"] == 16
    curriculum = tmp_path / "curriculum.parquet"
    pipeline.stage(load_config(None), scores, curriculum)
    staged = [(row["id"], row["stage"]) for row in read_table(curriculum)]
    assert staged == [("solved", 0), ("half solved", 0), ("unreadable", 1), ("cut off", 1)]


def test_cut_off_and_unreadable_are_told_apart(score: Score) -> None:
    scores, printed = score({"q": [RIGHT] * 10 + [CUT] * 3 + [CUT_LATE] * 2 + [UNREADABLE]})
    (row,) = read_table(scores)
    assert (row["truncated"], row["unparsed"], row["answers"].count(None)) == (5, 1, 4)
    assert row["pass_rate"] == 12 / 16  # an answer that was given before the cut counts
    assert "31.2% cut off at 64 tokens (18.8% without an answer), 6.2% ended without a readable answer" in printed
    assert read_facts(scores)["responses"] == {
        "drawn": 16,
        "truncated": 5 / 16,
        "truncated_without_answer": 3 / 16,
        "unparsed": 1 / 16,
        "problems_without_answer": 0,
    }


@pytest.mark.parametrize(
    ("response", "fix"),
    [
        (CUT, "100% of the responses were cut off at 64 tokens, 100% without an answer; raise score.sampling.max_tokens"),
        (
            CUT_LATE,
            "100% of the responses were cut off at 64 tokens, 0% without an answer; raise score.sampling.max_tokens, or name "
            "the token that ends an answer in model.stop",
        ),
        (UNREADABLE, "100% of the responses ended without an answer that boxed, hash, "),
    ],
)
def test_too_many_are_a_warning_that_names_the_fix(
    score: Score, response: Response, fix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, printed = score({"q": [response] * 16, "r": [response] * 16})
    assert f"warning: {fix}" in printed
    pipeline.stage(load_config(None), scores, tmp_path / "c.parquet")
    assert f"warning: {scores}: {fix}" in " ".join(capsys.readouterr().out.split())
    assert read_facts(tmp_path / "c.parquet")["responses"] == read_facts(scores)["responses"]


def test_scores_that_were_made_elsewhere_can_be_staged(score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, _ = score({"q": [RIGHT] * 16, "r": [CUT] * 16})
    empty = dict.fromkeys(("samples", "clusters", "unparsed", "truncated", "mean_tokens", "answers"))
    write_table(tmp_path / "own.parquet", [{**row, **empty} for row in read_table(scores)], SCORES)
    pipeline.stage(load_config(None), tmp_path / "own.parquet", tmp_path / "c.parquet")
    assert "warning" not in capsys.readouterr().out


def test_a_tenth_is_no_warning(score: Score) -> None:
    assert "warning" not in score({str(i): [RIGHT] * 15 + [CUT] for i in range(5)})[1]


def test_an_answer_that_was_cut_in_the_middle_is_none() -> None:
    read = load_config(None).answers.read_for_scores
    assert read("so\n#### 12", finished=False) is None
    assert read("so\n#### 12", finished=True) == "12"
    assert read("so\n#### 12\nNow", finished=False) == "12"
    assert read("so \\boxed{12}", finished=False) == "12"


def test_a_number_where_the_tokens_ran_out_is_no_answer() -> None:
    """Also where the recipe reads bare numbers: of a response that ended, and of no other."""
    assert counted_answer("7 and 7 and", True, ["last_number"]) == "7"
    assert counted_answer("7 and 7 and", False, ["last_number"]) is None
    assert counted_answer("<think> \\boxed{7} and", False, ["boxed"]) is None
    assert counted_answer("\\boxed{7} and", False, ["boxed"], opened=True) is None


@given(st.lists(st.sampled_from(["1", "2", None]), min_size=1, max_size=5))
@settings(max_examples=40)
def test_separate_is_what_the_missing_answers_could_give_at_most(answers: list[str | None]) -> None:
    """Against every way in which the missing answers could have turned out."""
    missing = [i for i, answer in enumerate(answers) if answer is None]
    possible = [1, 2, *range(10, 10 + len(missing))]
    values = []
    for chosen in itertools.product(possible, repeat=len(missing)):
        told = dict(zip(missing, map(str, chosen), strict=True))
        values.append(semantic_entropy([told.get(i, answer) for i, answer in enumerate(answers)]).value)
    assert semantic_entropy(answers).value == max(values)


def test_likelihood_weights_keep_an_unanswered_problem_at_the_top() -> None:
    """Every way to share out the two extreme weights, which is where the entropy is lowest."""
    lowest = min(semantic_entropy([None] * 16, [1.4] * k + [1.0] * (16 - k)).value for k in range(17))
    assert math.log(16) - 0.015 < lowest < math.log(16)


def ended(*rows: str) -> dict[str, Any]:
    """A rollout of TRL's: one response each, in the embedded model's tokens, padded."""
    vocabulary = {"1": 6, "2": 7, "#": 4, "end": 1}
    ids = [[vocabulary[token] for token in row.split()] for row in rows]
    longest = max(map(len, ids))
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    return {
        "completion_ids": torch.tensor([row + [0] * (longest - len(row)) for row in ids]),
        "completion_mask": mask,
        "prompt_ids": torch.tensor([[6]] * len(ids)),
    }


def test_trls_online_curriculum_follows_the_same_rule(tmp_path: Path) -> None:
    trainer = ours(tmp_path, tasks(24, stages=2), method={**SENT, "name": "sent_online"})
    same = ended("# 1 end", "# 1 end", "# 1 2 1 2", "# 1 2 1 2")
    inputs = [{ROW: 0}, {ROW: 0}, {ROW: 1}, {ROW: 1}]
    assert trainer._finished(same) == [True, True, False, False]
    trainer._update_curriculum(trainer._order, inputs, same)
    assert trainer._order.entropies[0] == 0
    assert trainer._order.entropies[1] == pytest.approx(math.log(2))  # both were cut inside the same answer
    trainer.args.unparsed = "shared"  # as score.unparsed
    trainer._update_curriculum(trainer._order, inputs, same)
    assert trainer._order.entropies[1] == 0
    masked = {**same, "completion_mask": same["completion_mask"] * torch.tensor([[1], [1], [0], [0]])}
    assert trainer._finished(masked) == [True, True, False, False]  # with mask_truncated_completions


def test_verl_says_by_length_what_was_cut_off() -> None:
    responses = [torch.tensor(row) for row in ([6, 1], [6, 6, 1], [6, 6, 6])]
    assert finished(responses, longest=3, end=1) == [True, True, False]


# ---- the table in docs/curriculum.md

M = 16
CASES: list[tuple[str, Sequence[str | None], float]] = [
    ("16 right", ["r"] * 16, 1.0),
    ("8 right, 8 equal and wrong", ["r"] * 8 + ["w"] * 8, 8 / M),
    ("12 right, 4 different wrong ones", ["r"] * 12 + ["1", "2", "3", "4"], 12 / M),
    ("10 right, 6 cut off", ["r"] * 10 + [None] * 6, 10 / M),
    ("2 right, 14 cut off", ["r"] * 2 + [None] * 14, 2 / M),
    ("2 equal and wrong, 14 unreadable", ["w"] * 2 + [None] * 14, 0.0),
    ("16 different ones, 1 right", ["r", *map(str, range(15))], 1 / M),
    ("16 cut off", [None] * 16, 0.0),
]


def worked_table() -> list[str]:
    """Semantic entropy under each rule, and in brackets the place in the order."""
    rules: dict[str, list[float | None]] = {
        "separate": [semantic_entropy(answers).value for _, answers, _ in CASES],
        "shared": [semantic_entropy(answers, unparsed="shared").value for _, answers, _ in CASES],
        "dropped": [semantic_entropy(kept).value if (kept := [a for a in answers if a]) else None for _, answers, _ in CASES],
    }
    columns = []
    for values in rules.values():
        known = [i for i, value in enumerate(values) if value is not None]
        cut = make_stages([values[i] or 0.0 for i in known], [CASES[i][2] for i in known], [f"{i}" for i in known])
        place = {known[i]: position + 1 for position, i in enumerate(cut.order)}
        columns.append([f"{value:.2f} ({place[i]})" if value is not None else "none" for i, value in enumerate(values)])
    lines = [
        f"| {name} | {rate:.2f} | {' | '.join(cells)} |" for (name, _, rate), cells in zip(CASES, zip(*columns, strict=True), strict=True)
    ]
    return [f"| 16 responses | pass rate | {' | '.join(rules)} |", "|---|---|---|---|---|", *lines]


def test_the_table_in_the_docs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "curriculum.md").read_text(encoding="utf-8")
    assert "\n".join(worked_table()) in page
