"""A thought that the chat template opens in the prompt is open until the response closes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sent_rl import pipeline
from sent_rl.answers import ends_in_thought, extract
from sent_rl.config import RunConfig, load_config
from sent_rl.models import EMBEDDED
from sent_rl.problems import Problem
from sent_rl.trainers.trl import SENTTrainer, run
from sent_rl.trainers.trl.stages import ROW
from sent_rl.trainers.verl import reward

R1_TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<think>\n{% endif %}"
CLOSED_TEMPLATE = R1_TEMPLATE.replace("<think>\n", "<think>\n\n</think>\n\n")
INSIDE, DONE = "2+2 is 4, so \\boxed{4}? Let me check.", "It is 5 at first.</think>\n\\boxed{4}"


@pytest.mark.parametrize(
    ("response", "opened", "answer"),
    [
        (INSIDE, True, None),
        (INSIDE, False, "4"),
        (DONE, True, "4"),
        (DONE, False, "4"),
        (r"\boxed{1}</think> no, <think> \boxed{2}", True, None),
        (r"<think>\boxed{1}</think>\boxed{2}", True, "2"),
        ("", True, None),
    ],
)
def test_what_stands_in_an_open_thought_is_no_answer(response: str, opened: bool, answer: str | None) -> None:
    assert extract(response, opened=opened) == answer


def test_thoughts_count_where_that_is_asked_for() -> None:
    assert extract(INSIDE, opened=True, thoughts=True) == "4"


@pytest.mark.parametrize(
    ("prompt", "opens"),
    [
        ("Q<|Assistant|><think>\n", True),
        ("Q<|Assistant|><think>", True),
        ("Q<|Assistant|><think>\n\n</think>\n\n", False),
        ("What does <think> mean?\n", False),
        ("", False),
    ],
)
def test_the_end_of_the_rendered_prompt_says_it(prompt: str, opens: bool) -> None:
    assert ends_in_thought(prompt) == opens


@pytest.fixture
def chat_model(tmp_path: Path) -> Callable[[str], str]:
    """The embedded model with a chat template."""

    def make(template: str) -> str:
        folder = tmp_path / f"model-{len(template)}"
        shutil.copytree(EMBEDDED, folder)
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        return str(folder)

    return make


def chat_config(path: str, *settings: str) -> RunConfig:
    return load_config(None, [f"model.path={path}", "prompting.chat=true", "train.questions_per_step=1", *settings])


def test_scores_and_evaluation_ask_the_chat_template_of_each_model(chat_model: Callable[[str], str]) -> None:
    r1, plain = chat_model(R1_TEMPLATE), chat_model(CLOSED_TEMPLATE)
    config = chat_config(plain)
    prompts = [config.prompting.render(Problem("p", "2+2", "4"))]
    for read in (config.answers.read, config.answers.read_for_scores):
        assert [pipeline._reader(config, read, prompts, path)(INSIDE) for path in (r1, plain, None)] == [None, "4", "4"]
        assert pipeline._reader(config, read, prompts, r1)(DONE) == "4"


def test_a_template_of_plain_text_may_open_a_thought_too() -> None:
    config = load_config(None, [r'prompting.template="{question}\n<think>\n"'])
    prompts = [config.prompting.render(Problem("p", "2+2", "4"))]
    assert pipeline._reader(config, config.answers.read, prompts)(INSIDE) is None


def test_the_recipe_has_the_last_word(chat_model: Callable[[str], str]) -> None:
    config = chat_config(chat_model(CLOSED_TEMPLATE), "answers.opened=true")
    assert config.opens_thought("2+2")
    assert not chat_config(chat_model(R1_TEMPLATE), "answers.opened=false").opens_thought([{"role": "user", "content": "2+2"}])


def test_the_reward_of_training_pays_no_open_thought(chat_model: Callable[[str], str], tmp_path: Path) -> None:
    config = chat_config(chat_model(R1_TEMPLATE), "train.steps=1", "train.report_to=[]")
    rows = [{"id": str(i), "prompt": f"{i}+1", "answer": "4", "source": "", "stage": 0} for i in range(4)]
    trainer = run._build(config, rows, run.training_arguments(config, tmp_path / "t"))
    reward: Any = trainer.reward_funcs[0]
    paid = reward(completions=[INSIDE, DONE], completion_ids=[[1], [1]], golds=[["4"], ["4"]], tolerance=[None, None])
    assert paid == [0.0, 1.0]


def test_options_of_the_chat_template_count(chat_model: Callable[[str], str], tmp_path: Path) -> None:
    template = R1_TEMPLATE.replace("{% if add_generation_prompt %}", "{% if add_generation_prompt and enable_thinking %}")
    path = chat_model(template)
    for thinking, paid in ((True, 0.0), (False, 1.0)):
        options = f"train.trl={{chat_template_kwargs: {{enable_thinking: {str(thinking).lower()}}}}}"
        config = chat_config(path, "train.steps=1", "train.report_to=[]", options)
        rows = [{"id": "0", "prompt": "3+1", "answer": "4", "source": "", "stage": 0}]
        trainer = run._build(config, rows, run.training_arguments(config, tmp_path / str(thinking)))
        reward: Any = trainer.reward_funcs[0]
        assert reward(completions=[INSIDE], completion_ids=[[1]], golds=[["4"]], tolerance=[None]) == [paid]


def test_an_online_curriculum_reads_no_open_thought() -> None:
    texts = {"done": DONE, "inside": INSIDE, "opens": "Q<think>\n", "plain": "Q\n"}
    trainer = SimpleNamespace(
        processing_class=SimpleNamespace(batch_decode=lambda ids, **_: [texts[i[-1]] for i in ids]),
        args=SimpleNamespace(extract=["boxed"], thoughts=False, opened=None, unparsed="separate"),
        _metrics={"train": {"semantic_entropy": []}},
        _finished=lambda batch: [True] * len(batch["completion_ids"]),
    )
    found: dict[int, float] = {}
    prompts = np.array([["opens"], ["opens"], ["plain"], ["plain"]])
    batch = {"completion_ids": [["done"], ["inside"]] * 2, "prompt_ids": prompts}
    SENTTrainer._update_curriculum(trainer, found, [{ROW: 0}, {ROW: 0}, {ROW: 1}, {ROW: 1}], batch)  # type: ignore[arg-type]
    assert found[0] == pytest.approx(np.log(2))  # "4" and no answer
    assert found[1] == 0


def test_verls_reward_pays_no_open_thought() -> None:
    paid = [reward.compute_score("", text, "4", opened=True)["score"] for text in (INSIDE, DONE)]
    assert paid == [0.0, 1.0]
