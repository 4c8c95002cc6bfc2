"""Questions with checkable answers, where they come from, and how they are put to a model."""

from sent_rl.problems.arithmetic import arithmetic_problems
from sent_rl.problems.problem import PROBLEMS, Problem, problem_of, problem_row
from sent_rl.problems.prompting import Prompting
from sent_rl.problems.rows import problems_from_rows
from sent_rl.problems.sources import Source, parse_source
from sent_rl.problems.writing import write_problems

__all__ = [
    "PROBLEMS",
    "Problem",
    "Prompting",
    "Source",
    "arithmetic_problems",
    "parse_source",
    "problem_of",
    "problem_row",
    "problems_from_rows",
    "write_problems",
]
