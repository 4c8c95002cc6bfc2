from __future__ import annotations

import itertools
import time

import pytest

from sent_rl.answers import canonical, cluster, equivalent, extract, verdict
from sent_rl.answers.guard import Guard
from sent_rl.errors import UserError


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{1}. Or rather \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"so \boxed{1} or rather \boxed{\frac{1}{2}}", None),
        (r"an unclosed \boxed{3 after \boxed{7}", "7"),
        ("3+8\n#### 11", "11"),
        ("#### 1\nmore\n#### 2 ", "2"),
        ("####", None),
        ("The sum is known.\nAnswer: 42", "42"),
        ("it takes 3 days and 1,250 dollars", "1,250"),
        ("The answer is 5, so done.", "5"),
        ("between 12,345 and 1,2", "2"),
        ("no idea", None),
        ("", None),
        (r"\boxed{\{1, 2\}} and so on", r"\{1, 2\}"),
        (r"\fbox{3}", "3"),
        ("The final answer is $69$, $84$. I hope it is correct.", "$69$, $84$"),
        ("So the answer is 1, 3, 5. Done.", "1, 3, 5"),
        ("the answer is 2.5 because it is", "2.5"),
        ("**Answer:** 7", "7"),
        (r"<think>\boxed{1}</think> It is \boxed{2}.", "2"),
        (r"\boxed{1} <think> no, \boxed{2}", None),
        (r"thinking aloud, 3 </think> so 4", "4"),
        (r"<think>\boxed{5}</think>", None),
        ("The answer is:\n\\[\n\\frac{1}{2}\n\\]", "\\[\n\\frac{1}{2}\n\\]"),
        ("Final Answer: The final answer is $42$. I hope it is correct.", "$42$"),
        ("#### Answer: 5", "5"),
        (r"\boxed{1} and \boxed{-2}", "1, -2"),
        (r"first \boxed{1}, then \boxed{3}", None),
    ],
)
def test_extract(text: str, answer: str | None) -> None:
    assert extract(text) == answer


def test_thoughts_count_where_that_is_asked_for() -> None:
    assert extract(r"\boxed{1}. <think> No, \boxed{2}", thoughts=True) == "2"
    assert extract(r"<think>\boxed{5}</think>", thoughts=True) == "5"


def test_strategies_are_tried_in_order() -> None:
    assert extract("#### 4\nAnswer: 5", ["answer_line", "hash"]) == "5"
    assert extract("7\n2+2=4", ["first_line"]) == "7"
    assert extract("7", ["hash"]) is None
    with pytest.raises(UserError, match="did you mean 'boxed'"):
        extract("7", ["boxd"])


SAME = [
    ("0.5", r"\frac{1}{2}"),
    ("1,000", "1000.0"),
    ("$ 12 $", "12."),
    ("-4", "- 4"),
    ("3/6", r"\dfrac{1}{2}"),
    (r"\text{yes}", "Yes"),
    ("+7", "007"),
    (r"\left( 1, 2 \right)", "(1,2)"),
    ("**5**", "5"),
    (r"\frac{x}{2}", "x/2"),
    ("1,234,567.50", "1234567.5"),
    (r"11,\! 111,\! 100", "11111100"),
    (r"\$32,\!348", "32348"),
    # roots, constants, functions
    (r"\sqrt{8}", r"2\sqrt2"),
    (r"\frac43", r"\frac{4}{3}"),
    (r"\sqrt[3]{27}", "3"),
    (r"\log_2 8", r"\log_{2}(8)"),
    (r"\sin^2 x + \cos^2 x", "1"),
    ("2pi", r"2\pi"),
    (r"7 \times 10^{37}", "7e37"),
    (r"\frac{100!}{99!}", "100"),
    (r"\binom{5}{2}", "10"),
    (r"0.1\overline{36}", "3/22"),
    (r"|{-3}|", "3"),
    (r"\lfloor 7/2 \rfloor", "3"),
    # expressions and equations
    ("(x+1)^2", "x^2+2x+1"),
    (r"\frac{x^2-1}{x-1}", "x+1"),
    (r"\frac{1}{b-a}\left(e^{-at}-e^{-bt}\right)", r"\frac{e^{-a t}-e^{-b t}}{b-a}"),
    ("x=5", "5"),
    ("f(x) = 2x", "2x"),
    ("y=2x+3", "2x-y+3=0"),
    ("5x - 7y + 11z + 4 = 0", "-5x + 7y = 11z + 4"),
    (r"x_{0} \cos(\omega t)", r"\cos(\omega t) x_0"),
    # units, degrees, percents, mixed numbers, bases, ratios, words
    (r"864 \mbox{ inches}^2", "864"),
    (r"5.4 \text{ cents}", "5.4"),
    (r"15000 \text{ kcal m}^{-2} \text{yr}^{-1}", "15000"),
    ("12 cm", "12"),
    (r"90^\circ", "90"),
    (r"1950^\circ C", "1950"),
    (r"50\%", "50"),
    (r"50\%", "0.5"),
    (r"1\frac{4}{5}", "9/5"),
    ("137 1/2", "137.5"),
    ("2516_8", "2516_{8}"),
    ("3:4", "6:8"),
    (r"\text{(C)}", "C"),
    # sets, tuples, intervals, matrices
    (r"\{1, 2\}", "2, 1"),
    ("1 or 2", r"2 \text{ and } 1"),
    ("1,000, 2,000", "2000, 1000"),
    (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"),
    (r"x \in [-2,7]", r"-2 \le x \le 7"),
    ("x > 3", r"(3, \infty)"),
    (r"5 \geq k", r"(-\infty, 5]"),
    (r"(0,9) \cup (9,36)", r"(9,36) \cup (0,9)"),
    (r"\begin{pmatrix} -1/3 \\ 2 \end{pmatrix}", r"\begin{bmatrix} -\frac{1}{3} \\ 2 \end{bmatrix}"),
    ("x=2, y=3", "y = 3, x = 2"),
    # six decimals, as math-verify has it
    ("1/3", "0.333333"),
    (r"\sqrt{2}", "1.414214"),
]
DIFFERENT = [
    ("1", "-1"),
    ("1/0", "1"),
    ("12", "1,2"),
    ("x", "y"),
    ("0.33", "1/3"),
    ("1", None),
    (r"\frac{x+1}{2}", "x+1/2"),
    (r"\frac{1}{x+1}", "1/x+1"),
    ("3 1/2", "31/2"),
    ("1 2", "12"),
    ("(1,234)", "(1234)"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("(3,4]", "[3,4)"),
    (r"\{1,2\}", "1"),
    ("x^2", "x^3"),
    ("2x+3y=1", "2x+3y=2"),
    ("x=2, y=3", "x=3, y=2"),
    ("mn", r"mn - \lfloor m/2 \rfloor"),
    ("2516_8", "2516"),
    ("east", "west"),
    ("100000", "100001"),
    ("1e-8", "2e-8"),
    ("I(0) e^{-t}", "0"),
    (r"\sin x", r"\cos x"),
    ("0.5", r"50.5\%"),
]


WRITTEN_BY_MODELS = [
    ("2xy", "2x y"),
    ("3+4i", "3+4\\mathrm{i}"),
    ("1000000", "1 million"),
    ("p - q", "p-q"),
    ("m g h", "mgh"),
    ("n R T", "nRT"),
    ("xyzw", "wxyz"),
    ("x^2-2", "(x-\\sqrt2)(x+\\sqrt2)"),
    ("2x^2", "\\sqrt4x^2"),
    ("\\frac{3x^2}{4}", "(\\frac{\\sqrt3}{2}x)^2"),
    ("\\frac{n(n-1)}{2}", "\\binom n2"),
    ("3\\sqrt{13}", "3\u221a13"),
    ("-2", "\\sqrt[3]{-8}"),
    ("-2", "(-8)^{1/3}"),
    ("1/3", "0.\\bar{3}"),
    ("1/6", "0.1\\bar{6}"),
    ("10^{33}", "10\xb3\xb3"),
    ("1/2", "\xbd"),
    ("12", "12 m"),
    ("10", "10 m/s"),
    ("12", "12 km/s"),
    ("4.5e33", "4.5 \\times 10^{33} erg/s"),
    ("18", "\u20ac18"),
    ("x\\ge 0", "x >= 0"),
    ("(-\\infty,3)", "(-inf,3)"),
    ("{100,200}", "\\{100,200\\}"),
    ("5", "5 apples"),
    ("12", "12 sq cm/hour"),
    ("5.4", "5.4\\text{ cents}"),
    ("3", "3 \\text{ m}"),
    ("864", "864 \\mbox{ inches}^2"),
    ("Evelyn", "\\text{Evelyn}"),
    ("5000000", "5\\text{ million}"),
    ("red", "\\text{Red}"),
    ("7", "x = 7 cm"),
    ("1/2", "50\\%"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1\\\\[4pt]2\\end{pmatrix}"),
]
WRONG_BUT_CLOSE = [
    ("2xy", "2"),
    ("2ab", "2cd"),
    ("6xy", "6yz"),
    ("2xy", "2xyz"),
    ("12xy^2", "12"),
    ("1+23i", "12+3i"),
    ("1+11i", "11+i"),
    ("7", "3+4\\mathrm{i}"),
    ("2", "2\\mathrm{e}"),
    ("3", "3\\text{x}"),
    ("2\\mathbf{i}+3\\mathbf{j}", "2\\mathbf{i}+3\\mathbf{k}"),
    ("10", "10 million"),
    ("5", "5\\text{ million}"),
    ("10", "10 dozen"),
    ("2", "2 cubed"),
    ("5", "5 factorial"),
    ("3", "3 halves"),
    ("2", "2 theta"),
    ("5", "5\\text{ choose 2}"),
    ("2", "y=5 \\text{ for } x=2"),
    ("-2", "x=1 \\lor x=-2"),
    ("3", "a=1 \\quad b=2 \\quad c=3"),
    ("2", "1=2=2"),
    ("MR=SRMC", "P=SRMC"),
    ("MR=SRMC", "SRMC"),
    ("SRAC=LRAC", "LRAC"),
    ("SRAC=LRAC", "SRMC=LRAC"),
    ("5", "xy=5"),
    ("P V", "p v"),
    ("MnPq", "mnpq"),
    ("9", "3\u221a13"),
    ("0", "0.\\bar{3}"),
    ("5", "\\ge 5"),
    ("5", "\\neq 5"),
    ("5", "> 5"),
    ("5", "5+"),
    ("5", "5="),
    ("530", "5^\\circ30'"),
    ("10^{3000}", "10^{3000}-1"),
    ("2^{6000}", "2^{6000}-1"),
    ("|xy|", "xy"),
    ("1", "\\sin(\\cosh(10^6))"),
    ("1", "\\sin\\cosh 9^9"),
    ("x", "|x|"),
    ("1", "0.5\\overline{"),
    ("42", "42 is the answer because substituting gives the value requested by the problem statement: 43"),
]


@pytest.mark.parametrize(("gold", "answer"), WRITTEN_BY_MODELS)
def test_right_answers_as_models_write_them(gold: str, answer: str) -> None:
    assert verdict(gold, answer) == "same"


@pytest.mark.parametrize(("gold", "answer"), WRONG_BUT_CLOSE)
def test_wrong_answers_that_look_alike(gold: str, answer: str) -> None:
    assert verdict(gold, answer) != "same"


@pytest.mark.parametrize(
    "answer", ["5(", "(5", "5}", "6 -> 5", "5#6", "5|6", "5....6", "4#### 5", "5+5-5(", "5(-4(-1-4-4", "5 6", "5==6", "not 5"]
)
def test_nonsense_that_holds_the_right_number_is_not_rewarded(answer: str) -> None:
    assert verdict("5", answer) == "different"


def test_a_long_sentence_is_no_trap() -> None:
    started = time.process_time()
    verdict("42", "42 is the answer because substituting gives the value requested by the problem statement: " + "and so on " * 100)
    verdict("1", "1" + r" \text{a}" * 60 + "b")
    assert time.process_time() - started < 1


@pytest.mark.parametrize(("one", "other"), SAME)
def test_same(one: str, other: str) -> None:
    assert equivalent(one, other)
    assert equivalent(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different(one: str, other: str | None) -> None:
    assert not equivalent(one, other)
    assert other is None or not equivalent(other, one)


def test_math_verify_agrees_but_for_known_exceptions() -> None:
    """Another reader of the same answers. Where the two differ, ours is meant."""
    guard = Guard()
    try:
        stricter = {pair for pair in SAME if guard.ask(*pair).outcome == "different"}
        laxer = {(one, other) for one, other in DIFFERENT if other is not None and guard.ask(one, other).outcome == "same"}
    finally:
        guard.close()
    assert stricter == {
        ("**5**", "5"),
        ("2pi", "2\\pi"),
        ("7 \\times 10^{37}", "7e37"),
        ("0.1\\overline{36}", "3/22"),
        ("1950^\\circ C", "1950"),
        ("137 1/2", "137.5"),
        ("1,000, 2,000", "2000, 1000"),
        ("x \\in [-2,7]", "-2 \\le x \\le 7"),
    }
    assert laxer == {("2516_8", "2516")}


def test_long_digits_stay_text() -> None:
    digits = "9" * 100_000
    assert canonical(digits) == digits


def test_clusters_do_not_depend_on_order() -> None:
    answers = ["1", "2/2", None, "x", "1.0", None]
    assert cluster(answers) == [0, 0, None, 1, 0, None]

    def partition(order: tuple[int, ...]) -> set[frozenset[int]]:
        numbers = cluster([answers[i] for i in order])
        return {frozenset(i for i, n in zip(order, numbers, strict=True) if n == number) for number in set(numbers)}

    assert len({frozenset(partition(order)) for order in itertools.permutations(range(6))}) == 1
