"""Where problems come from: the built-in family, reasoning-gym, a file, or the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sent_rl.errors import UserError
from sent_rl.files import read_table, read_text
from sent_rl.problems.arithmetic import Split, arithmetic_problems
from sent_rl.problems.problem import Problem


class _Source(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Arithmetic(_Source):
    """The built-in step-by-step arithmetic; level L has L + 2 numbers. Levels 1 and up are new to the embedded model."""

    kind: Literal["arithmetic"] = "arithmetic"
    levels: list[int] = Field([1, 2], description="difficulty levels, 0 to 4, in equal parts")
    count: int = Field(512, ge=1, description="how many problems")
    split: Split = Field("train", description="pretrain, train or test; they share no problem")
    seed: int = Field(0, description="which problems are drawn")

    def load(self) -> list[Problem]:
        return arithmetic_problems(self.levels, self.count, self.split, self.seed)


class Gym(_Source):
    """A family of reasoning-gym (install ``sent-rl[gym]``)."""

    kind: Literal["gym"] = "gym"
    family: str = Field(description="the family's name, e.g. chain_sum")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the family")
    start: int = Field(0, ge=0, description="index of the first problem; keep the ranges of train and test apart")
    count: int = Field(512, ge=1, description="how many problems")
    seed: int = Field(0, description="neighbouring seeds share problems: tell sets apart by start, not by seed")

    def load(self) -> list[Problem]:
        try:
            import reasoning_gym
        except ImportError as error:
            raise UserError("problems: reasoning-gym is not installed; pip install 'sent-rl[gym]'") from error
        try:
            family = reasoning_gym.create_dataset(self.family, seed=self.seed, size=self.start + self.count, **self.options)
        except (ValueError, TypeError, AssertionError) as error:
            raise UserError(f"problems.family: reasoning-gym cannot make {self.family!r} ({error})") from error
        rows = ((i, family[i]) for i in range(self.start, self.start + self.count))
        return [Problem(f"{self.family}-s{self.seed}-{i}", row["question"], str(row["answer"]), f"gym:{self.family}") for i, row in rows]


class File(_Source):
    """A .jsonl, .json or .parquet file, one problem a row. verl's row schema is understood without naming columns."""

    kind: Literal["file"] = "file"
    path: str = Field(description="the file")
    prompt: str = Field("prompt", description="column of the question; dots reach into nested columns")
    answer: str = Field("answer", description="column of the gold answer")
    id: str | None = Field(None, description="column of a unique id; the row number where there is none")
    count: int | None = Field(None, ge=1, description="only the first so many rows")

    def rows(self) -> list[dict[str, Any]]:
        return _read_rows(Path(self.path))[: self.count]

    def load(self) -> list[Problem]:
        return problems_from_rows(self.rows(), self.path, self.prompt, self.answer, self.id)


class Hub(_Source):
    """A data set of the Hugging Face Hub."""

    kind: Literal["hub"] = "hub"
    dataset: str = Field(description="its id, e.g. openai/gsm8k")
    config: str | None = Field(None, description="its configuration, e.g. main")
    split: str = Field("train", description="its split")
    prompt: str = Field("prompt", description="column of the question; dots reach into nested columns")
    answer: str = Field("answer", description="column of the gold answer")
    id: str | None = Field(None, description="column of a unique id; the row number where there is none")
    count: int | None = Field(None, ge=1, description="only the first so many rows")

    def rows(self) -> list[dict[str, Any]]:
        from datasets import load_dataset, logging
        from datasets.exceptions import DatasetNotFoundError

        logging.set_verbosity_error()  # the one line below says what there is to say
        try:
            data = load_dataset(self.dataset, self.config, split=self.split)
        except (DatasetNotFoundError, ValueError, OSError) as error:
            first = str(error).strip().splitlines()[0]
            raise UserError(
                f"problems: neither a file nor a data set that could be loaded from the Hub: {self.dataset!r} ({first})"
            ) from error
        return [dict(row) for row in (data if self.count is None else data.select(range(min(self.count, len(data)))))]

    def load(self) -> list[Problem]:
        return problems_from_rows(self.rows(), self.dataset, self.prompt, self.answer, self.id)


def parse_source(value: Any) -> Any:
    """A source from its short form: ``arithmetic``, ``gym:FAMILY``, the path of a file, or a Hub id. Mappings may leave ``kind`` out."""
    if isinstance(value, str):
        if value == "arithmetic":
            return {"kind": "arithmetic"}
        if value.startswith("gym:"):
            return {"kind": "gym", "family": value.removeprefix("gym:")}
        if value.endswith((".jsonl", ".json", ".parquet")) or Path(value).exists():
            return {"kind": "file", "path": value}
        return {"kind": "hub", "dataset": value}
    if isinstance(value, Mapping) and "kind" not in value:
        for key, kind in (("path", "file"), ("dataset", "hub"), ("family", "gym")):
            if key in value:
                return {"kind": kind, **value}
        return {"kind": "arithmetic", **value}
    return value


Source = Annotated[Annotated[Arithmetic | Gym | File | Hub, Field(discriminator="kind")], BeforeValidator(parse_source)]


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.suffix == ".parquet":
        return read_table(path)
    text = read_text(path)
    if path.suffix == ".json" and text.lstrip().startswith("["):
        try:
            rows: list[Any] = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: not JSON ({error})") from error
    else:
        rows = [_parse_line(path, number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f"{path}: row {number} is not an object with named fields")
    return rows


def _parse_line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: line {number} is not JSON ({error.msg})") from error


def problems_from_rows(
    rows: Iterable[Mapping[str, Any]], source: str, prompt: str = "prompt", answer: str = "answer", id: str | None = None
) -> list[Problem]:
    """Rows -> problems; everything that is not prompt, answer or id becomes metadata.

    Raises:
        UserError: no rows, a missing column or value, or an id that occurs twice.
    """
    rows = list(rows)
    if not rows:
        raise UserError(f"{source}: no problems in it")
    if answer == "answer" and "answer" not in rows[0] and "reward_model" in rows[0]:  # verl's schema
        answer = "reward_model.ground_truth"
    problems, first_row = [], dict[str, int]()
    for number, row in enumerate(rows, 1):
        extra = row.get("extra_info") if isinstance(row.get("extra_info"), Mapping) else {}
        fallback = row.get("id", (extra or {}).get("id") or f"{Path(source).stem}-{number}")
        identity = str(_column(row, id, source, number) if id else fallback)
        if identity in first_row:
            raise UserError(f"{source}: row {number} has the id {identity!r} of row {first_row[identity]}; ids must be unique")
        first_row[identity] = number
        rest = {key: value for key, value in row.items() if key not in (prompt, answer, id)}
        rest |= {key: extra[key] for key in ("accept", "tolerance") if extra and extra.get(key)}
        question, gold = (_column(row, column, source, number) for column in (prompt, answer))
        problems.append(Problem(identity, _question(question, source, number), _gold(gold), source, rest))
    return problems


def _column(row: Mapping[str, Any], column: str, source: str, number: int) -> Any:
    value: Any = row
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise UserError(f"{source}: row {number} has no column {column!r}; it has {', '.join(map(str, row))}. Name the column to use")
        value = value[part]
    if value is None or value == "":
        raise UserError(f"{source}: row {number} has nothing in column {column!r}; fill it or drop the row")
    return value


def _question(value: Any, source: str, number: int) -> str:
    """The text of a question; a chat with one user message counts as its text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping) and value[0].get("role") == "user":
        return str(value[0]["content"])
    raise UserError(f"{source}: row {number}: a prompt is text or one user message, not {str(value)[:80]!r}")


def _gold(value: Any) -> str:
    """The gold answer; of a GSM8K-style solution what stands after ``####``."""
    return str(value).rpartition("####")[2].strip() or str(value)
