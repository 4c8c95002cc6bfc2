"""Spellings of one value: notation, degrees, decimals, percentages."""

from __future__ import annotations

import pytest

from sent_rl.answers import verdict

NOTATION = [
    ("DNE", r"\text{DNE}"),
    ("55", r"\sum_{k=1}^{10} k"),
    ("1", r"\lim_{x\to 0}\frac{\sin x}{x}"),
    ("7", r"\boxed{7}"),
    ("7", r"\boxed 7"),
    (r"\frac12", r"\fbox{\frac{1}{2}}"),
    ("5", "5<|im_end|>"),
    ("5", "5</s>"),
    ("5", "5<|endoftext|>"),
    ("5", "5\u200b"),
    ("1/2", "1\u200b/2"),
    ("5", r"\textbf{(C)}\ 5"),
    ("C", r"\textbf{(C)}\ 5"),
    (r"\textbf{(C)}\ 5", r"\text{(C) } 5"),
    (r"\text{(C)}", "C"),
    (r"2^6 \cdot 3^5 \cdot 5^4", "2^6 3^5 5^4"),
    ("2^6 3^5 5^4", r"2^{6}\cdot3^{5}\cdot5^{4}"),
    ("1234", r"1\,234"),
    ("1000", "1 000"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "Matrix([[1], [2]])"),
    ("No solution", r"\text{no solution}"),
    ("5", "*5*"),
    ("5", "`5`"),
    ("5", r"\boldsymbol{5}"),
    ("1234567", r"1\,234\,567"),
    ("12345", "12{,}345"),
    ("3.0e8", "3 x 10^8"),
    (r"3\times 10^8", "3*10^8"),
    (r"\frac{1}{2}", r"\nicefrac{1}{2}"),
    ("x^2+1", "x**2+1"),
    ("sqrt(2)/2", r"\frac{\sqrt2}{2}"),
    ("2*sqrt(3)", r"2\sqrt3"),
    ("[[1,2],[3,4]]", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    ("1,2,3", "1; 2; 3"),
    ("(7,11),(11,7)", "(11,7)or(7,11)"),
    ("19, 46, 82", r"19, 46, \text{ and } 82"),
    (r"\frac{3}{4}", r"\tfrac34"),
    (r"x \ge 0", "x \u2265 0"),
    (r"2\pi", "2\u03c0"),
    (r"\emptyset", r"\varnothing"),
    (r"\text{odd}", "odd"),
    (r"1\frac12", "3/2"),
    (r"\{1,2\}", r"\left\{1, 2\right\}"),
    (r"\frac{-1}{2}", r"-\frac12"),
    ("5", "{5}"),
    ("5", "(5)"),
    (r"\mathbb{R}", r"\mathbb R"),
]
OTHERS = [
    ("SAS", "SSA"),
    ("HTH", "HHT"),
    (r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    ("1,5", "1.5"),
    ("1.000", "1000"),
    (r"\frac{1}{2} \text{ or } 2", "2"),
    (r"0.1\overline{3}", "0.13"),
    (r"(-\infty,2)\cup(3,\infty)", r"(-\infty,2)\cap(3,\infty)"),
    ("x^2", "2^x"),
    ("1/2x", "1/x"),
    (r"\sin^2 x", r"\sin x^2"),
    (r"3 \pmod 7", r"3 \pmod 5"),
    ("55", r"\sum_{k=1}^{9} k"),
    ("(v+1/2)", "[v+1/2)"),
    ("5", r"\textbf{(B)}\ 6"),
    (r"\textbf{(C)}\ 5", r"\textbf{(B)}\ 5"),
    (r"\textbf{(C)}\ 5", r"\textbf{(C)}\ 6"),
    ("A", r"\textbf{(B)}\ 5"),
    ("123", "12 3"),
    ("1234", "1 2 3 4"),
    ("12", r"1\,2"),
    ("2^6", "2^6 3^5"),
    ("65", "6 5"),
    ("2^63^5", "2^6 3^6"),
    ("5", r"\phantom{5}"),
    ("5", "5_7"),
    ("12", "12_5"),
    ("5", "5^{1"),
    ("5", "5\\"),
    ("5", r"\frac{5}"),
    ("5", r"5\frac"),
    ("1", r"e^{i\pi}"),
    ("x", "X"),
    ("1234", "1,23,4"),
    ("10", "1O"),
    ("SSS", "SAS"),
    ("yes", "no"),
    ("east", "west"),
    ("5", r"\overline{5}"),
    ("5", r"\boxed{5} \boxed{6}"),
    ("5", r"\text{13}"),
    ("28", r"2800\%"),
    ("2", r"200\%"),
    (r"50\%", "0.005"),
    ("13", r"1\frac{3}"),
    ("0", r"\emptyset"),
    ("1", r"\text{one of many}"),
    ("a", "b"),
    ("{1,2}", "{1,2,3}"),
    ("1,2,2", "1,2,3"),
    ("(1,2)", "(1,2,3)"),
    ("(1,2)", "1"),
]
DEGREES = [
    (r"\frac12", r"\sin 30^\circ"),
    ("1/2", r"\cos(60^\circ)"),
    (r"\sqrt3", r"\tan 60^{\circ}"),
    ("36", r"36^\circ"),
    (r"36^\circ", "36"),
    (r"\frac{\sqrt{6}-\sqrt{2}}{4}", r"\sin 15^\circ"),
    (r"2\sin 10^\circ", r"2\sin(\frac{\pi}{18})"),
]
OTHER_ANGLES = [
    (r"\sin 30", r"\sin 30^\circ"),
    ("1/2", r"\sin 30"),
    ("530", r"5^\circ 30'"),
    ("30", r"\sin 30^\circ"),
    (r"\cos 60^\circ", r"\cos 60"),
    ("1/2", r"\sin 60^\circ"),
]
ROUNDED = [
    ("1/3", "0.333333"),
    (r"\sqrt2", "1.414214"),
    (r"\pi", "3.141593"),
    ("3", "3.0"),
    ("3", "3.000"),
    ("1e6", "1000000"),
    ("2.5", "5/2"),
    ("0.1", "1/10"),
]
NEAR = [
    ("3", "2.9999999"),
    ("3", "3.0000001"),
    ("2.9999999", "3"),
    ("100", "99.99999999"),
    ("1", "0.9999999"),
    ("0", "0.0000001"),
    ("0", "1e-9"),
    ("1000000", "1000000.1"),
    ("1000000", "999999.9999"),
    ("3", r"\sqrt{9.0000001}"),
    ("0.33", "1/3"),
    ("0.3333", "1/3"),
    (r"\pi", "3.14"),
    (r"\sqrt2", "1.41"),
    ("2", "1.9999999999999"),
    ("7", "7.00000001"),
    ("1/3", "0.333334"),
]


@pytest.mark.parametrize(("gold", "answer"), NOTATION)
def test_notations_of_one_answer(gold: str, answer: str) -> None:
    assert verdict(gold, answer) == "same"
    assert verdict(answer, gold) == "same"


@pytest.mark.parametrize(("gold", "answer"), OTHERS)
def test_answers_that_look_alike(gold: str, answer: str) -> None:
    assert verdict(gold, answer) != "same"
    assert verdict(answer, gold) != "same"


@pytest.mark.parametrize(("gold", "answer"), DEGREES)
def test_degrees(gold: str, answer: str) -> None:
    assert verdict(gold, answer) == "same"
    assert verdict(answer, gold) == "same"


@pytest.mark.parametrize(("gold", "answer"), OTHER_ANGLES)
def test_degrees_inside_functions_count(gold: str, answer: str) -> None:
    assert verdict(gold, answer) != "same"
    assert verdict(answer, gold) != "same"


@pytest.mark.parametrize(("gold", "answer"), ROUNDED)
def test_rounded_numbers(gold: str, answer: str) -> None:
    assert verdict(gold, answer) == "same"
    assert verdict(answer, gold) == "same"


@pytest.mark.parametrize(("gold", "answer"), NEAR)
def test_nearly_is_not_equal(gold: str, answer: str) -> None:
    assert verdict(gold, answer) != "same"
    assert verdict(answer, gold) != "same"
