"""Responses that were drawn elsewhere, read from a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sent_rl.errors import UserError
from sent_rl.problems import Problem
from sent_rl.problems.sources import File
from sent_rl.rollouts.engine import Response, clean_text

Recorded = dict[str, dict[str, list[Response]]]
"""Model -> problem id -> responses, in the order of the file."""


def read_recorded(path: Path) -> Recorded:
    """Rows with ``problem`` (its id) and ``text``; optional ``model`` (else the file's name), ``tokens`` and ``finished``.

    Raises:
        UserError: no such file, or a row without problem or text.
    """
    found: Recorded = {}
    for number, row in enumerate(File(path=str(path)).rows(), 1):
        if not isinstance(row.get("text"), str) or row.get("problem") in (None, ""):
            raise UserError(f"{path}: row {number} needs 'problem' (an id such as aime24-1) and 'text'; it has {', '.join(row)}")
        tokens, finished = row.get("tokens"), row.get("finished")
        if not (tokens is None or isinstance(tokens, int)) or finished not in (None, True, False):
            raise UserError(
                f"{path}: row {number}: 'tokens' is a whole number and 'finished' true or false, not {tokens!r} and {finished!r}"
            )
        responses = found.setdefault(clean_text(str(row.get("model") or path.stem)), {}).setdefault(str(row["problem"]), [])
        responses.append(Response(clean_text(row["text"]), tokens, finished is not False))
    if not found:
        raise UserError(f"{path}: no responses in it")
    return found


def responses_to(
    problems: Sequence[Problem], recorded: dict[str, list[Response]], n: int, path: Path
) -> Iterator[tuple[Problem, list[Response]]]:
    """The first ``n`` recorded responses to every problem.

    Raises:
        UserError: a problem has fewer.
    """
    for problem in problems:
        responses = recorded.get(problem.id, [])
        if len(responses) < n:
            raise UserError(f"{path}: {len(responses)} responses to {problem.id}, {n} are asked for; record more or lower --n")
        yield problem, responses[:n]
