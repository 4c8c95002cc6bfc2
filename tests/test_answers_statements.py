"""Equations, inequalities, names and lists; and what a number is not: arrows, relations, several answers at once."""

from __future__ import annotations

import pytest

from sent_rl.answers import verdict

RELATIONS = [
    ("x<1", "-x>-1"),
    (r"x \le 1", r"-x \ge -1"),
    ("x>3", "3<x"),
    (r"x \neq 5", "x != 5"),
    ("x>5", "x>5.0"),
    ("2x+4y-3=0", r"y=-\frac12 x+\frac34"),
    (r"\frac{x^2}{4}+\frac{y^2}{3}=1", "3x^2+4y^2=12"),
    ("Eq(x**2/4+y**2/3,1)", r"\frac{x^2}{4}+\frac{y^2}{3}=1"),
    ("5", "Eq(x,5)"),
    ("y>2x", "2x<y"),
    ("x^2<4", "4>x^2"),
    (r"x^2 - 1 \le 0", r"1 - x^2 \ge 0"),
    ("5", "5=x"),
    (r"\sqrt2", r"x=\sqrt{2}\approx 1.414"),
    ("1/3", r"1/3 \approx 0.333"),
    ("8", "5+3=8"),
    ("11", "x = 5+6 = 11"),
    ("(0,1)", "0<f(x)<1"),
    ("(-793,10)", "-793 < a < 10"),
    (r"x \in (1,2)", "1<x<2"),
    (r"\{x \mid x > 5\}", r"(5,\infty)"),
    (r"\{x : x \ge 2\}", r"[2,\infty)"),
    ("x > 5", r"x\gt 5"),
]
OTHER_RELATIONS = [
    ("x<1", "-x<-1"),
    ("x<1", r"x \le 1"),
    ("x>1", "x<1"),
    ("(1,2)", "[1,2]"),
    (r"x \ne 5", "x = 5"),
    (r"x\ne5", r"x\ne 6"),
    ("x^2<4", "x^2>4"),
    ("x>5", "5"),
    ("x>5", "x>6"),
    ("y>2x", "y<2x"),
    ("1<x<2", r"1<x\le 2"),
    ("x^2/4+y^2/3=1", "x^2/3+y^2/4=1"),
    (r"(0,9)\cup(9,36)", "(0,36)"),
    ("17, 41", r"17 \cup 41"),
    ("[0,1)", "[0,1]"),
]
NAMES = [
    ("5", "f(2) = 5"),
    ("30", r"\angle ABC = 30^\circ"),
    ("5", "AB = 5"),
    ("5", "|AB| = 5"),
    ("5", "A = 5"),
    (r"\frac{1}{2}", r"P(A) = \frac12"),
    ("0.3", "P(X=2) = 0.3"),
    ("12", r"S_{\triangle ABC} = 12"),
    (r"\frac{1}{\sqrt6}", r"\frac{NO}{BO}=\frac{1}{\sqrt6}"),
    ("7:32", "S_{MBCN}:S=7:32"),
    ("(3,2)", "(p,q)=(3,2)"),
    ("(3,2,7)", "(p, q, r) = (3, 2, 7)"),
    ("2x+1", "f(x)=2x+1"),
    ("x^2", "f(x) = x^2"),
    ("4, 5", "AB=4, CD=5"),
    ("(2,3)", "x=2, y=3"),
    ("x=2,y=3", "2, 3"),
    ("-5,3", "x_1=-5, x_2=3"),
    ("3,-5", "x_{1}=-5, x_{2}=3"),
    ("(5,2),(7,2)", "p=5,q=2;p=7,q=2"),
    ("60", r"m\angle A = 60"),
    ("10", r"\text{Area} = 10"),
    ("10", "area = 10"),
    ("5", "a_5 = 5"),
    ("3", "g(f(x)) = 3"),
    ("45", r"\theta = 45^\circ"),
    ("7", r"\overline{AB} = 7"),
    ("2", "T_n = 2"),
]
OTHER_NAMES = [
    (r"\sin(x)=c", r"\cos(x)=c"),
    ("c", r"\sin(x)=c"),
    ("5", r"\sin(x) = 5"),
    ("5", r"\log x = 5"),
    ("5", r"\sqrt{x} = 5"),
    ("5", "2x = 5"),
    ("5", "x^2 = 5"),
    ("5", "xy=5"),
    ("5", "x/2=5"),
    ("5", "-x=5"),
    ("5", "x+1=5"),
    ("5", r"\frac{x}{2}=5"),
    ("x=2,y=3", "x=3,y=2"),
    ("x=2,y=3", "3, 2"),
    ("x=2,y=3", "(3,2)"),
    ("(3,2)", "(p,q)=(2,3)"),
    ("5", "AB = 5x"),
    ("5", "5x = x"),
    ("MR=SRMC", "P=SRMC"),
    (r"\tan x = c", r"\sin x = c"),
    ("y=x", "y=-x"),
    ("y = 2x+1", "y = 2x-1"),
    ("AB=4, CD=5", "5, 4"),
    ("7:32", "7:33"),
    ("Eq(x**2/4+y**2/3,1)", "Eq(x**2/16+y**2/12,1)"),
    (r"\ln y = x", r"\exp y = x"),
    ("x", "f(x)"),
    ("f(x)", "f(y)"),
    ("5", "|x|=5"),
    ("5", "x! = 5"),
    ("2", "f(x)=2x"),
    ("x=1, x=2", "x=1, y=2"),
]
NO_FIVE = [
    r"4 \to 5",
    r"4 \rightarrow 5",
    r"17 \cap 5",
    r"17 \cup 5",
    r"4 \approx 5",
    r"5 \approx 4",
    r"4 \implies 5",
    r"4 \Rightarrow 5",
    r"5 \to \infty",
    "4 = 5",
    "5 = 4",
    r"5 \ne 4",
    r"5 \neq 6",
    r"x \neq 5",
    r"x \ge 5",
    "x > 5",
    "x < 5",
    "5 < 6",
    "4 < 5",
    r"5 \le 6",
    r"5 \in A",
    r"5 \notin A",
    r"\{5\} \cup \{6\}",
    r"5 \setminus 4",
    r"A \cap 5",
    r"5 \sim 4",
    r"4 \equiv 5",
    r"5 \mid 10",
    "5 | 10",
    "10 | 5",
    r"5 \pm 1",
    r"4 \pm 1",
    "4 -> 5",
    "4 => 5",
    "4 \u2192 5",
    "4 \u2248 5",
    "4 \u2229 5",
    r"5 \parallel 6",
    r"5 \perp 6",
    r"5 \propto 4",
    r"\lim_{x \to 5}",
    r"5 \mod 7",
    r"5 \bmod 4",
    r"5 \pmod 7",
    r"x \to 5",
    r"x \approx 4",
    r"5 \iff 5",
    r"5 \vee 6",
    r"5 \wedge 6",
    r"5 \oplus 6",
    r"5 \otimes 1",
    r"\neg 5",
    r"5 \subset 6",
    r"5 \ldots 9",
    r"1, \ldots, 5",
    r"1, 2, \dots, 5",
    r"\cancel{5}",
    r"\xcancel{5}",
    r"\color{white}{5}",
    r"\sout{5}",
    r"5 \to 5 \to 6",
    r"4 \longrightarrow 5",
    r"4 \mapsto 5",
    r"4 \leadsto 5",
    r"\therefore 5 = 4",
]
NOT_ONLY_FIVE = [
    "5...",
    "5 600",
    "5 or 6",
    "5, 6",
    "5; 6",
    "5 and 6",
    "5/6",
    r"5 \text{ or } 6",
    r"5 \quad 6",
    r"5 \text{ or maybe } 6",
    "5 (or 6)",
    "5?",
    "?5",
    "5 6",
    "5\n6",
    r"5\\6",
    "5~6",
    r"5\,6",
    r"5 \\ 6",
    r"\{5,6\}",
    "(5,6)",
    "[5,6]",
    "5:6",
    "5..6",
    "5...6",
    "5-6",
    "5--6",
    "5 to 6",
    "5 through 6",
    "4,5,6",
    "5 not 6",
    "not 5",
    "neither 5",
    "any but 5",
    "x=5 or x=6",
    "x=5, y=6",
    "5 = x = 6",
    "5 vs 6",
    "maybe 5 maybe 6",
    r"5 \cdot 6",
    "56",
    "15",
    "0.5",
    "-5",
    "5i",
    "5x",
    "5e",
    r"5\pi",
    "|x|=5",
    "x=5y",
    "55",
    "5.5",
]


@pytest.mark.parametrize(("gold", "answer"), RELATIONS)
def test_relations_that_say_the_same(gold: str, answer: str) -> None:
    assert verdict(gold, answer) == "same"
    assert verdict(answer, gold) == "same"


@pytest.mark.parametrize(("gold", "answer"), OTHER_RELATIONS)
def test_relations_that_do_not(gold: str, answer: str) -> None:
    assert verdict(gold, answer) != "same"
    assert verdict(answer, gold) != "same"


@pytest.mark.parametrize(("gold", "answer"), NAMES)
def test_a_name_before_a_value_does_not_count(gold: str, answer: str) -> None:
    assert verdict(gold, answer) == "same"
    assert verdict(answer, gold) == "same"


@pytest.mark.parametrize(("gold", "answer"), OTHER_NAMES)
def test_what_is_no_name_counts(gold: str, answer: str) -> None:
    assert verdict(gold, answer) != "same"
    assert verdict(answer, gold) != "same"


@pytest.mark.parametrize("answer", NO_FIVE)
def test_a_number_equals_no_text_with_arrows_relations_or_set_operators(answer: str) -> None:
    assert verdict("5", answer) != "same"
    assert verdict(answer, "5") != "same"


@pytest.mark.parametrize("answer", NOT_ONLY_FIVE)
def test_several_answers_are_not_one(answer: str) -> None:
    assert verdict("5", answer) != "same"
    assert verdict(answer, "5") != "same"
