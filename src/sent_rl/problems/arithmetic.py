"""The built-in family: step-by-step integer arithmetic with several right orders of work.

A problem is an expression of one-digit numbers joined by ``+``, ``-`` and ``*``, such as ``3+4*2-5``. Its solution rewrites the
expression one operation at a time; wherever more than one operation may come next without changing the value, the solution forks,
and that is where a policy's entropy lives.

Which split an expression belongs to is a fixed hash of its text, so splits share no expression whatever the seed, and a model that
was pre-trained on the ``pretrain`` split has seen neither ``train`` nor ``test``.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from sent_rl.errors import UserError
from sent_rl.problems.problem import Problem

Split = Literal["pretrain", "train", "test"]

LEVELS = range(0, 5)
LARGEST_VALUE = 999
LARGEST_PRODUCT = 99
# Shares of the hash space, in tenths: half to pre-train the embedded model, three tenths to train on, two to test.
_SPLIT_TENTHS: dict[Split, range] = {"pretrain": range(0, 5), "train": range(5, 8), "test": range(8, 10)}
# A level holds thousands of expressions; this many misses in a row mean that the split of that level is used up.
_MISSES_BEFORE_EMPTY = 20_000


@dataclass(frozen=True)
class Expression:
    """``numbers[0] operators[0] numbers[1] ...``, with the usual precedence of ``*``."""

    numbers: tuple[int, ...]
    operators: tuple[str, ...]

    def __str__(self) -> str:
        parts = [str(self.numbers[0])]
        for operator, number in zip(self.operators, self.numbers[1:], strict=True):
            parts.append(operator + (str(number) if number >= 0 else f"({number})"))
        return "".join(parts)

    def apply(self, position: int) -> Expression:
        """The expression after the operation at ``position`` was carried out, right or not."""
        left, right = self.numbers[position : position + 2]
        operator = self.operators[position]
        result = left + right if operator == "+" else left - right if operator == "-" else left * right
        return Expression(
            (*self.numbers[:position], result, *self.numbers[position + 2 :]),
            (*self.operators[:position], *self.operators[position + 1 :]),
        )

    def right_positions(self) -> list[int]:
        """Every operation that may be carried out next without changing the value.

        A product may always come first, since ``a*b*c`` may be grouped either way; a sum or difference must not take a number
        from a product on its right, nor stand behind anything but a ``+``.
        """
        found = []
        for position, operator in enumerate(self.operators):
            before = self.operators[position - 1] if position > 0 else "+"
            after = self.operators[position + 1] if position + 1 < len(self.operators) else "+"
            if operator == "*" or (after != "*" and before == "+"):
                found.append(position)
        return found

    def value(self) -> int:
        expression = self
        while expression.operators:
            expression = expression.apply(expression.right_positions()[0])
        return expression.numbers[0]

    def largest_product(self) -> int:
        """The largest product of a run of ``*``; 0 where there is none."""
        largest, run = 0, self.numbers[0]
        for operator, number in zip(self.operators, self.numbers[1:], strict=True):
            run = run * number if operator == "*" else number
            largest = max(largest, run) if operator == "*" else largest
        return largest


def split_of(expression: Expression) -> Split:
    """The split that an expression belongs to, by a hash of its text."""
    tenth = hashlib.blake2b(str(expression).encode(), digest_size=8).digest()
    bucket = int.from_bytes(tenth, "big") % 10
    return next(split for split, tenths in _SPLIT_TENTHS.items() if bucket in tenths)


def draw_expression(rng: random.Random, operands: int) -> Expression:
    """A random expression of one-digit numbers whose value and products stay small enough for a tiny model."""
    while True:
        numbers = tuple(rng.randint(1, 9) for _ in range(operands))
        operators = tuple(rng.choice("+-*") for _ in range(operands - 1))
        expression = Expression(numbers, operators)
        if expression.largest_product() <= LARGEST_PRODUCT and abs(expression.value()) <= LARGEST_VALUE:
            return expression


def expressions(level: int, split: Split, seed: int) -> Iterator[Expression]:
    """Distinct expressions of one level and split; the i-th depends on (level, split, seed, i) alone.

    Level L has L + 2 numbers. Ends when the split of that level is used up: level 0 holds about 70 expressions in ``train``, level 1
    about 1,800. The embedded model was pre-trained on all of level 0.
    """
    rng = random.Random(f"arithmetic/{level}/{split}/{seed}")
    seen: set[Expression] = set()
    misses = 0
    while misses < _MISSES_BEFORE_EMPTY:
        expression = draw_expression(rng, level + 2)
        if expression in seen or split_of(expression) != split:
            misses += 1
            continue
        misses = 0
        seen.add(expression)
        yield expression


def arithmetic_problems(levels: Sequence[int], count: int, split: Split = "train", seed: int = 0) -> list[Problem]:
    """``count`` problems, spread evenly over ``levels`` and interleaved.

    Raises:
        UserError: a level that does not exist, or more problems than the split of a level holds.
    """
    wrong = [level for level in levels if level not in LEVELS]
    if wrong or not levels:
        raise UserError(f"problems.levels: {wrong or 'empty'}; levels go from {LEVELS.start} to {LEVELS.stop - 1}")
    shares = {level: count // len(levels) + (i < count % len(levels)) for i, level in enumerate(levels)}
    columns = {level: list(islice(expressions(level, split, seed), share)) for level, share in shares.items()}
    for level, share in shares.items():
        if len(columns[level]) < share:
            raise UserError(
                f"problems.count: level {level} has only {len(columns[level])} '{split}' expressions, {share} were asked for;"
                " ask for fewer or add a level"
            )
    rows = ((level, i) for i in range(max(shares.values(), default=0)) for level in levels if i < shares[level])
    return [_problem(columns[level][i], level, i, split, seed) for level, i in rows]


def _problem(expression: Expression, level: int, index: int, split: Split, seed: int) -> Problem:
    return Problem(
        id=f"arithmetic-{split}-s{seed}-l{level}-{index}",
        prompt=str(expression),
        answer=str(expression.value()),
        source="arithmetic",
        metadata={"level": level, "first_steps": len(expression.right_positions())},
    )
