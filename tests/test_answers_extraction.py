r"""Where the final answer of a response stands: boxes, tags, formulas; and what a response must not be paid for."""

from __future__ import annotations

import pytest

from sent_rl.answers import DEFAULT_STRATEGIES, LOOSE_STRATEGIES, STATED_STRATEGIES, extract, verdict
from sent_rl.config import load_config
from sent_rl.errors import UserError
from sent_rl.trainers.trl import SENTConfig
from sent_rl.trainers.verl import reward

LAST_FORMULAS = [
    (r"so it is $\frac{3}{4}$.", r"\frac{3}{4}"),
    ("The result is 10^3.", "1000"),
    ("(1,2)", "(1,2)"),
    ("so x > 5", "x > 5"),
    (r"in all 2\pi", r"2\pi"),
    (r"we get \frac{10}{9}", r"\frac{10}{9}"),
    ("-10/9", "-10/9"),
    (r"Thus $x \le 3$ in case 2.", r"x \le 3"),
    (r"\( x \in [0,1) \)", "[0,1)"),
    (r"The matrix is $\begin{pmatrix}1 & 0 \\ 0 & 1\end{pmatrix}$.", r"\begin{pmatrix}1&0\\0&1\end{pmatrix}"),
    (r"hence \[ x = \frac{1}{2}. \]", "1/2"),
    (r"$1$, $2$ and $3$.", "1, 2, 3"),
    ("so $x=5$ or $x=6$.", "5, 6"),
    ("x = 5 or x = 6", "5, 6"),
    ("we have 3 + 4 = 7.", "7"),
    ("9 * 2 = $18 every day", "18"),
    ("in the ratio 3:4", "3:4"),
    ("[0,1)", "[0,1)"),
    (r"\{1, 2\}", r"\{1,2\}"),
    # a bare number where there is no formula in its sentence
    ("Let $x$ be the number of apples. There are 42 apples.", "42"),
    ("The largest value of $f(x)$ is 19.", "19"),
    ("She pays $5 and $6, in all 11 dollars", "11"),
    ("costs $1,250.", "1250"),
    ("10weeks", "10"),
    ("about 50% of them", r"50\%"),
    ("a 2-digit number 5!", "5"),
]
BOXES = [
    (r"\boxed{1} \quad \text{and} \quad \boxed{2}.", "1, 2"),
    (r"$\boxed{1}$ or $\boxed{2}$", "1, 2"),
    (r"\boxed{(2,2)}; \boxed{(6,2)}", "(2,2), (6,2)"),
    ("\\boxed{1}\n\\boxed{2}", "1, 2"),
    (r"\boxed{1} \\ \boxed{2}", "1, 2"),
    (r"\boxed{1},\,\boxed{2} \text{ and } \boxed{3}", "1, 2, 3"),
    (r"$\boxed{k = 45} \quad \text{and} \quad \boxed{n = 2}$", "k = 45, n = 2"),
    (r"$x = \boxed{2}$, $y = \boxed{3}$", "x = 2, y = 3"),
    (r"\(y_1 = \boxed{a}\) and \(y_2 = \boxed{b}\)", "y_1 = a, y_2 = b"),
    (r"it is \boxed{3 }, that is \boxed{3}.", "3"),
    (r"Step 1: \boxed{3}. Step 2: \boxed{4}.", "4"),
    ("Step 1: \\boxed{3}\nStep 2: \\boxed{4}", "4"),
    (r"\boxed{\boxed{5}}", "5"),
    (r"\fbox{\frac12}", r"\frac12"),
    (r"$\boxed 7$", "7"),
    (r"so \boxed7.", "7"),
    (r"\\boxed{840}", "840"),
    (r"\boxed{5}<|im_end|>", "5"),
]
NO_SINGLE_BOX = [
    r"\boxed{3} + \boxed{4}",
    r"either \boxed{3} or it is \boxed{4}",
    r"\boxed{3} \text{ or maybe } \boxed{4}",
    r"first \boxed{1}, then \boxed{3}",
    r"\boxed{3} papers and \boxed{4} bins",
    r"\boxed{}",
    r"\boxed{1}. Let me see, \boxed{2",
    r"The answer is 4, so \boxed{4",
    r"The answer is 4, so \boxed",
]
TAGS = [
    (r"<answer>\frac12</answer>", r"\frac12"),
    ("<answer> 5 </answer> Done.", "5"),
    ("<answer>4</answer> or rather <answer>5</answer>", "5"),
    ("<answer>The answer is 5.</answer>", "5"),
    ("<answer>\n5\n</answer>", "5"),
    ("<answer></answer> 5", None),
    ("<think>so <answer>4</answer></think><answer>5</answer>", "5"),
]
SENTENCES = [
    ("Answer: Jane started growing it 3 hours ago.", "3"),
    (r"So $$x \ge 2.$$ Therefore the error grows by 100%.", r"100\%"),
    ("The answer is 5 or 6.", "5, 6"),
    ("The answer is 5, or 6.", "5, 6"),
    ("The answer is 5; or 6", "5, 6"),
    ("The answer is five.", "5"),
    (r"The answer is \(\frac{1}{2}\), since it is.", r"\frac12"),
    ("Final Answer: The largest $n$ is 34.", "34"),
    ("It is 255 at first. Final Answer: The volume of $ABCD$ is 120. I hope it is correct.", "120"),
    ("5<|im_end|>\n<|im_start|>user\nWhat is 7?", "5"),
    ("#### 18\n</s>", "18"),
    ("It is 5.<\uff5cend\u2581of\u2581sentence\uff5c>", "5"),
]


@pytest.mark.parametrize(("response", "answer"), LAST_FORMULAS)
def test_the_last_formula_is_read_whole(response: str, answer: str) -> None:
    assert verdict(answer, extract(response)) == "same"


@pytest.mark.parametrize(("response", "answer"), BOXES)
def test_boxes_that_are_listed_are_one_answer(response: str, answer: str) -> None:
    assert extract(response) == answer


@pytest.mark.parametrize("response", NO_SINGLE_BOX)
def test_boxes_that_contradict_each_other_are_no_answer(response: str) -> None:
    assert extract(response) is None


@pytest.mark.parametrize(("response", "answer"), TAGS)
def test_answer_tags(response: str, answer: str | None) -> None:
    assert extract(response, ["answer_tag"]) == answer


@pytest.mark.parametrize(("response", "answer"), SENTENCES)
def test_sentences_and_ends(response: str, answer: str) -> None:
    assert verdict(answer, extract(response)) == "same"


def test_long_and_hostile_texts_are_read_soon() -> None:
    for text in ("$" * 20_000, r"\boxed{" * 5000, r"\boxed{1} " * 5000, "<answer>" * 2000, "(" * 20_000, r"\[" * 5000, "1," * 9000):
        extract(text)


def test_reward_and_scores_read_only_what_is_stated() -> None:
    answers = load_config(None).answers
    assert answers.extract == list(DEFAULT_STRATEGIES)
    assert answers.of_reward == answers.of_scores == list(STATED_STRATEGIES)
    assert not set(STATED_STRATEGIES) & set(LOOSE_STRATEGIES)
    for text in ("in all 5 apples", "The answer is 5", "so $x = 5$"):
        assert answers.read(text) is not None
        assert answers.read_for_reward(text) is None
        assert answers.read_for_scores(text) is None
        assert reward.compute_score("", text, "5")["score"] == 0.0
    assert SENTConfig(output_dir="x", report_to="none", bf16=False, use_cpu=True).extract == list(STATED_STRATEGIES)


def test_each_reading_can_be_set() -> None:
    answers = load_config(
        None, ["answers.extract=[boxed, last_number]", "answers.reward=[answer_line]", "answers.score=[last_number]"]
    ).answers
    text = "Answer: 4\n\\boxed{5} at 6"
    assert [answers.read(text), answers.read_for_reward(text), answers.read_for_scores(text)] == ["5", "4", "6"]
    assert load_config(None, ["answers.reward=[hash]"]).answers.of_scores == ["hash"]
    assert load_config(None, ["answers.extract=[first_line]"]).answers.of_reward == ["first_line"]
    assert load_config(None, ["answers.extract=[last_number, hash]"]).answers.of_reward == ["hash"]
    assert load_config("quickstart").answers.of_reward == ["hash"]
    assert load_config("smollm2").answers.of_reward == ["first_line"]


def test_a_reward_without_a_stated_answer_must_be_asked_for() -> None:
    with pytest.raises(UserError, match=r"answers.extract: .*last_number.*answers.reward=\[boxed\]"):
        load_config(None, ["answers.extract=[last_number]"])
    assert load_config(None, ["answers.extract=[last_number]", "answers.reward=[last_number]"]).answers.of_reward == ["last_number"]


def test_a_response_cut_at_its_limit_is_read_for_stated_answers_only() -> None:
    answers = load_config(None).answers
    assert answers.read("so it is 4", finished=False) is None
    assert answers.read("Answer: 4", finished=False) == "4"
    assert load_config(None, ["answers.extract=[last_number]", "answers.reward=[boxed]"]).answers.read("so 4", finished=False) == "4"
