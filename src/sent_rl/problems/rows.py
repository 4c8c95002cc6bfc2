"""Rows of any source -> problems; what a row says wrong is named with its number and its column."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sent_rl.errors import UserError
from sent_rl.problems.problem import Problem

_USUAL_NAMES = {
    "prompt": ("prompt", "question", "problem", "query", "instruction", "input"),
    "answer": (
        *("answer", "final_answer", "expected_answer", "ground_truth", "gold", "target"),
        *("solution", "output", "label"),
    ),
    "id": ("id", "uid", "uuid", "idx", "index"),
}
_LARGEST_EXACT = 2**53  # up to here a float without a fraction is one whole number


def problems_from_rows(
    rows: Iterable[Mapping[str, Any]],
    source: str,
    prompt: str = "prompt",
    answer: str = "answer",
    id: str | None = None,
    key: str = "problems.train",
) -> list[Problem]:
    """Rows -> problems; everything that is not prompt, answer or id becomes metadata.

    An answer is text or a number. A list of them means alternatives, each of which is right: the
    first becomes ``answer``, the others go to ``accept`` with those that the row's own ``accept``
    names.

    Args:
        prompt, answer, id: columns; dots reach into nested ones.
        key: where the configuration has these problems; errors name the setting below it.

    Raises:
        UserError: no rows, a missing column, a value of another type, or an id that occurs twice.
    """
    rows = list(rows)
    if not rows:
        raise UserError(f"{source}: no problems in it")
    if answer == "answer" and "answer" not in rows[0] and "reward_model" in rows[0]:  # verl's schema
        answer = "reward_model.ground_truth"
    problems, first_row = [], dict[str, int]()
    for number, values in enumerate(rows, 1):
        row = _Row(values, source, number, key)
        identity = str(row.column(id, "id")) if id else row.own_id
        if identity in first_row:
            raise UserError(f"{source}: row {number} has the id {identity!r} of row {first_row[identity]}; ids must be unique")
        first_row[identity] = number
        rest = {name: value for name, value in values.items() if name not in (prompt, answer, id)}
        question, golds = row.question(prompt), row.golds(answer)
        problems.append(Problem(identity, question, golds[0], source, rest | row.grading(golds[1:])))
    return problems


@dataclass(frozen=True)
class _Row:
    values: Mapping[str, Any]
    source: str
    number: int
    key: str

    def wrong(self, what: str) -> UserError:
        return UserError(f"{self.source}: row {self.number}{what}")

    @property
    def extra(self) -> Mapping[str, Any]:
        """What verl's rows put beside the answer."""
        extra = self.values.get("extra_info")
        return extra if isinstance(extra, Mapping) else {}

    @property
    def own_id(self) -> str:
        return str(self.values.get("id", self.extra.get("id") or f"{Path(self.source).stem}-{self.number}"))

    def column(self, column: str, option: str) -> Any:
        """The value in ``column``, which the setting ``option`` chose."""
        value: Any = self.values
        for part in column.split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise self.wrong(f" has no column {column!r}; {self._columns(column, option)}")
            value = value[part]
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            raise self.wrong(f" has nothing in column {column!r}; fill it or drop the row")
        return value

    def _columns(self, wanted: str, option: str) -> str:
        """The columns that there are, and the setting that names the one which was probably meant."""
        names = [str(name) for name in self.values]
        meant = difflib.get_close_matches(wanted, names, n=1) or [name for name in _USUAL_NAMES[option] if name in names and name != wanted]
        return f"its columns: {', '.join(names)}; --set {self.key}.{option}={(meant or ['COLUMN'])[0]}"

    def question(self, column: str) -> str:
        """The text of a question; a chat with one user message counts as its text."""
        value = self.column(column, "prompt")
        if isinstance(value, str):
            return value
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
            role, text = value[0].get("role"), value[0].get("content")
            if role == "user" and isinstance(text, str):
                return text
        raise self.wrong(f": column {column!r}: a prompt is text or one user message, not {_shown(value)}")

    def golds(self, column: str) -> list[str]:
        """Every right answer; there is at least one."""
        value = self.column(column, "answer")
        if isinstance(value, Mapping):
            inner = f"--set {self.key}.answer={column}.{next(iter(value), 'FIELD')}"
            raise self.wrong(f": column {column!r} holds an object, not an answer; name a field of it, e.g. {inner}")
        return self._alternatives(value, column)

    def _alternatives(self, value: Any, column: str) -> list[str]:
        values = value if isinstance(value, list) else [value]
        if not values:
            raise self.wrong(f" has an empty list in column {column!r}; fill it or drop the row")
        return list(dict.fromkeys(self._answer(each, column) for each in values))

    def _answer(self, value: Any, column: str) -> str:
        """One answer as text; of a GSM8K-style solution what stands after ``####``."""
        if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_EXACT:
            value = int(value)  # a column of whole numbers with gaps is read as floats
        if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
            text = str(value)
            answer = text.rpartition("####")[2].strip() or text
            if answer.strip():
                return answer
        raise self.wrong(f": column {column!r}: an answer is text or a number, not {_shown(value)}")

    def grading(self, alternatives: list[str]) -> dict[str, Any]:
        """``accept`` and ``tolerance``, the two keys of a problem's metadata that the grader reads."""
        found: dict[str, Any] = {}
        accept = self.extra.get("accept") or self.values.get("accept")
        accepted = self._alternatives(accept, "accept") if accept else []
        if alternatives or accepted:
            found["accept"] = list(dict.fromkeys([*alternatives, *accepted]))
        tolerance = self.extra.get("tolerance") or self.values.get("tolerance")
        if tolerance is not None:
            found["tolerance"] = self._tolerance(tolerance)
        return found

    def _tolerance(self, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 <= number < math.inf:
            raise self.wrong(f": column 'tolerance': a tolerance is a number, 0 or more, not {_shown(value)}")
        return number


def _shown(value: Any) -> str:
    return repr(value)[:80]
