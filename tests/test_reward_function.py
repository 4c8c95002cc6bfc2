"""A reward function of the user's: one signature under TRL and verl, and one line for everything that is wrong with it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Sent

from sent_rl.config import load_config
from sent_rl.curriculum import CURRICULUM
from sent_rl.errors import UserError
from sent_rl.files import write_table
from sent_rl.problems import Problem, problem_row
from sent_rl.problems.writing import verl_row
from sent_rl.trainers.reward import load_reward, trl_reward
from sent_rl.trainers.trl.run import _dataset
from sent_rl.trainers.verl.export import overrides
from sent_rl.trainers.verl.reward import compute_score, compute_user_score

MODULE = """
import asyncio
calls = []

def by_length(prompts, completions, **columns):
    calls.append((prompts, completions, columns))
    return [float(len(completion) % 3) for completion in completions]

async def later(prompts, completions, **columns):
    await asyncio.sleep(0)
    return by_length(prompts, completions, **columns)

def returns(value):
    def reward(prompts, completions, **columns):
        return value
    return reward

none, text, few = returns(None), returns("1, 2"), returns([1.0])
nan, holes, words = returns([0.0, float("nan")]), returns([None, 0.0]), returns([1.0, "2"])
hole, fine = returns([None]), returns([True, 2])

def fails(prompts, completions, **columns):
    return [columns["nowhere"]]

def narrow(prompts, completions):
    return []

def of_a_column(completions, level, **columns):
    return list(map(float, level))

class Judge:
    pass

class Callable:
    def __call__(self, prompts, completions, **columns):
        return [1.0] * len(completions)

judge, constant = Callable(), 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The user's folder, which is the current one, with a module in a package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "rewards.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "needy.py").write_text("import not_installed_here\n")
    yield lambda: sys.modules["mine.rewards"]
    for name in ("mine", "mine.rewards", "broken", "needy"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.rewards:by_length", "no module 'nowhere' in .* or among the installed packages"),
        ("mine.reward:by_length", "no module 'mine.reward' in"),
        ("needy:reward", "needy imports 'not_installed_here', which is not installed"),
        ("broken:reward", r"importing broken failed \(ZeroDivisionError: division by zero; broken.py, line 1\)"),
        ("mine.rewards:by_lenght", "mine.rewards has no 'by_lenght'; did you mean 'by_length'?"),
        ("mine.rewards:constant", "is of type int, not a function"),
        ("mine.rewards:Judge", "is of type type, not a function"),
        ("mine.rewards:narrow", r"must take \(prompts, completions, \*\*columns\) by name"),
    ],
)
def test_what_cannot_be_used_is_refused(path: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_reward(path)
    assert str(caught.value).startswith(f"answers.reward_function {path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["rewards", "a/b.py:reward", "mine.rewards:", ":reward", "mine.rewards:a b"])
def test_the_form_is_checked_with_the_recipe(path: str) -> None:
    with pytest.raises(UserError, match=r"write my_package\.my_module:reward"):
        load_config(None, [], {"answers.reward_function": path})


def test_the_current_folder_is_found_and_hides_no_library(tmp_path: Path) -> None:
    assert load_reward("mine.rewards:by_length")([], ["ab"]) == [2.0]
    assert sys.path[-1] == str(tmp_path)
    assert str(tmp_path) not in sys.path[:-1]
    assert load_reward("mine.rewards:judge")([], ["ab"]) == [1.0]


PROBLEM = Problem("a-1", "1+1", "2", "sums.jsonl", {"level": 3, "tests": ["x"], "accept": ["two"], "tolerance": 0.5})
OTHER = Problem("a-2", "2+2", "4", "sums.jsonl", {"level": 4})
COLUMNS: dict[str, Any] = {
    "id": ["a-1", "a-2"],
    "answer": ["2", "4"],
    "golds": [["2", "two"], ["4"]],
    "tolerance": [0.5, None],
    "source": ["sums.jsonl"] * 2,
    "level": [3, 4],
    "tests": [["x"], None],
}


def staged(*problems: Problem) -> list[dict[str, Any]]:
    blank = dict.fromkeys(CURRICULUM.names)
    return [{**blank, **problem_row(p), "stage": 0, "semantic_entropy": 0.0, "answers": []} for p in problems]


def with_trl(chat: bool) -> Any:
    """What TRL hands over: the columns of the data set as lists, but the prompts under their own name."""
    config = load_config(None, [f"prompting.chat={str(chat).lower()}", "answers.reward_function=mine.rewards:by_length"])
    rows = _dataset(config, staged(PROBLEM, OTHER)).to_list()
    prompts = [row.pop("prompt") for row in rows]
    texts = ["Answer: 2", "4"]
    completions = [[{"role": "assistant", "content": text}] for text in texts] if chat else texts
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    trl_reward("mine.rewards:by_length")(prompts, completions, **columns)


def with_verl(chat: bool) -> None:
    """What verl hands over: one row at a time, the prompt not among it."""
    for index, (problem, text) in enumerate(((PROBLEM, "Answer: 2"), (OTHER, "4"))):
        row = verl_row(problem, index, "{question}" if chat else "{question}\n")
        gold = row["reward_model"]["ground_truth"]
        found = compute_user_score(row["data_source"], text, gold, row["extra_info"], function="mine.rewards:by_length", chat=chat)
        assert found["score"] == len([text] if chat else text) % 3
        assert found["acc"] is (index == 0)  # a bare 4 is no stated answer
        assert json.dumps(found)


@pytest.mark.parametrize("chat", [False, True])
def test_trl_and_verl_ask_the_same(chat: bool, module: Any) -> None:
    with_trl(chat)
    with_verl(chat)
    (prompts, completions, columns), *singles = module().calls
    assert {name: columns[name] for name in COLUMNS} == COLUMNS
    assert prompts[0] == ([{"role": "user", "content": "1+1"}] if chat else "1+1\n")
    for i, (prompt, completion, own) in enumerate(singles):
        assert (prompt, completion) == ([prompts[i]], [completions[i]])
        assert {name: own.get(name, [None]) for name in COLUMNS} == {name: [COLUMNS[name][i]] for name in COLUMNS}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "returned None, not a list with one number per response, on 2 responses to 'a-1', 'a-2'"),
        ("text", "returned '1, 2', not a list"),
        ("few", "returned 1 rewards on 2 responses to 'a-1', 'a-2'; one per response is needed"),
        ("nan", "returned nan for response 2 of 2, to 'a-2'; a reward is a finite number"),
        ("holes", "returned None for response 1 of 2, to 'a-1'"),
        ("words", "returned '2' for response 2 of 2, to 'a-2'"),
        ("fails", r"raised KeyError: 'nowhere'; rewards.py, line \d+ on 2 responses to 'a-1', 'a-2'"),
    ],
)
def test_wrong_returns_name_the_function_and_the_row(name: str, message: str) -> None:
    with pytest.raises(UserError, match=f"answers.reward_function mine.rewards:{name}: {message}"):
        trl_reward(f"mine.rewards:{name}")(["p"] * 2, ["c"] * 2, id=["a-1", "a-2"], metadata=["{}", "{}"])


def test_a_function_may_name_the_columns_that_it_reads() -> None:
    asked = trl_reward("mine.rewards:of_a_column")
    assert asked(["p"] * 2, ["c"] * 2, id=["a", "b"], metadata=['{"level": 3}', '{"level": 4}']) == [3.0, 4.0]
    with pytest.raises(UserError, match="missing 1 required positional argument: 'level'"):
        asked(["p"], ["c"], id=["a"], metadata=["{}"])


def test_numbers_of_any_kind_are_taken() -> None:
    found = trl_reward("mine.rewards:fine")(["p"] * 2, ["c"] * 2, id=["a", "b"], metadata=["{}", "{}"])
    assert found == [1.0, 2.0]
    assert all(type(each) is float for each in found)


def test_one_response_of_verl_is_checked_too() -> None:
    with pytest.raises(UserError, match=r"mine\.rewards:hole: returned None for response 1 of 1, to 'a-1'"):
        compute_user_score("s", "2", "2", {"id": "a-1"}, function="mine.rewards:hole")


def test_an_async_function_is_awaited_by_both() -> None:
    asked = trl_reward("mine.rewards:later")
    assert asyncio.iscoroutinefunction(asked)  # TRL runs it on its own loop
    assert asyncio.run(asked(["p"], ["four"], id=["a"], metadata=["{}"])) == [1.0]
    assert compute_user_score("s", "four", "2", {"id": "a"}, function="mine.rewards:later")["score"] == 1.0


@pytest.mark.parametrize("name", ["by_length", "later"])
def test_training_maximises_it(sent: Sent, tmp_path: Path, name: str, module: Any) -> None:
    write_table(tmp_path / "c.parquet", staged(*(Problem(f"p{i}", f"1+{i}", str(1 + i), "s", {"level": i}) for i in range(4))), CURRICULUM)
    few = ["train.steps=1", "train.questions_per_step=2", "train.generations=4", "train.max_tokens=6", "train.report_to=[]"]
    options = [part for each in few for part in ("--set", each)]
    code, _, err = sent("train", "c.parquet", "--out", "t", "--reward-function", f"mine.rewards:{name}", *options)
    assert code == 0, err
    ((prompts, completions, columns),) = module().calls
    expected = [len(completion) % 3 for completion in completions]
    (line,) = (tmp_path / "t" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["reward"] == pytest.approx(sum(expected) / 8)
    assert f"rewards/{name}/mean" in json.loads(line)
    assert [prompt.strip() for prompt in prompts] == [f"1+{level}" for level in columns["level"]]
    assert len(prompts) == 8


def test_mistakes_leave_nothing_behind(sent: Sent, tmp_path: Path) -> None:
    write_table(tmp_path / "c.parquet", staged(PROBLEM), CURRICULUM)
    code, _, err = sent("train", "c.parquet", "--out", "t", "--reward-function", "nowhere:reward")
    assert (code, err.count("\n")) == (2, 1)
    assert "no module 'nowhere'" in err
    code, _, err = sent("run", "quickstart", "--out", "r", "--set", "answers.reward_function=nowhere:reward")
    assert (code, err.count("\n")) == (2, 1)
    assert "no module 'nowhere'" in err
    assert not (tmp_path / "t").exists()
    assert not (tmp_path / "r").exists()


def test_a_job_for_verl_asks_it(tmp_path: Path) -> None:
    config = load_config(None, ["answers.reward_function=mine.rewards:by_length"])
    words = dict(word.split("=", 1) for word in overrides(config, 2, 1, 64, "vllm"))
    reward = "reward.custom_reward_function"
    assert words[f"{reward}.path"] == "pkg://sent_rl.trainers.verl.reward"
    assert words[f"{reward}.name"] == "compute_user_score"
    assert words[f"+{reward}.reward_kwargs.function"] == "mine.rewards:by_length"
    assert words[f"+{reward}.reward_kwargs.folder"] == str(tmp_path)
    assert words[f"+{reward}.reward_kwargs.chat"] == "false"
    assert f"+{reward}.reward_kwargs.extract_with" in words  # of acc, which stays the evaluation's verdict
    with pytest.raises(UserError, match="no module 'nowhere'"):
        overrides(load_config(None, ["answers.reward_function=nowhere:reward"]), 2, 1, 64, "vllm")


def test_verls_ground_truth_may_be_a_list() -> None:
    both: list[Any] = [["6", "1"], np.array(["6", "1"])]
    for golds in both:
        for answer, score in (("6", 1.0), ("1", 1.0), ("2", 0.0)):
            assert compute_score("s", f"Answer: {answer}", golds, {"accept": np.array([])})["score"] == score
    assert compute_score("s", "Answer: 1", "1")["score"] == 1.0
