"""Where problems come from: the built-in family, reasoning-gym, a file, or the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sent_rl.errors import UserError
from sent_rl.files import looks_like_path
from sent_rl.problems.arithmetic import Split, arithmetic_problems
from sent_rl.problems.problem import Problem
from sent_rl.problems.reading import KINDS, OTHER_KINDS, read_rows
from sent_rl.problems.rows import problems_from_rows


class _Source(BaseModel):
    """``load`` takes the key of the configuration that holds the source, which errors then name."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Arithmetic(_Source):
    """The built-in step-by-step arithmetic; level L has L + 2 numbers. Levels 1 and up are new to the embedded model."""

    kind: Literal["arithmetic"] = "arithmetic"
    levels: list[int] = Field([1, 2], description="difficulty levels, 0 to 4, in equal parts")
    count: int = Field(512, ge=1, description="how many problems")
    split: Split = Field("train", description="pretrain, train or test; they share no problem")
    seed: int = Field(0, description="which problems are drawn")

    def load(self, key: str = "problems.train") -> list[Problem]:
        return arithmetic_problems(self.levels, self.count, self.split, self.seed)


class Gym(_Source):
    """A family of reasoning-gym (install ``sent-rl[gym]``)."""

    kind: Literal["gym"] = "gym"
    family: str = Field(description="the family's name, e.g. chain_sum")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the family")
    start: int = Field(0, ge=0, description="index of the first problem; keep the ranges of train and test apart")
    count: int = Field(512, ge=1, description="how many problems")
    seed: int = Field(0, description="neighbouring seeds share problems: tell sets apart by start, not by seed")

    def load(self, key: str = "problems.train") -> list[Problem]:
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
    """A .jsonl, .json, .parquet or .csv file, one problem per row. verl's row schema is understood without naming columns."""

    kind: Literal["file"] = "file"
    path: str = Field(description="the file")
    prompt: str = Field("prompt", description="column of the question; dots reach into nested columns")
    answer: str = Field("answer", description="column of the gold answer; a list means alternatives")
    id: str | None = Field(None, description="column of a unique id; the row number where there is none")
    count: int | None = Field(None, ge=1, description="only the first so many rows")

    def rows(self) -> list[dict[str, Any]]:
        return read_rows(Path(self.path).expanduser())[: self.count]

    def load(self, key: str = "problems.train") -> list[Problem]:
        return problems_from_rows(self.rows(), self.path, self.prompt, self.answer, self.id, key)


class Hub(_Source):
    """A data set of the Hugging Face Hub."""

    kind: Literal["hub"] = "hub"
    dataset: str = Field(description="its id, e.g. openai/gsm8k")
    config: str | None = Field(None, description="its configuration, e.g. main")
    split: str = Field("train", description="its split")
    prompt: str = Field("prompt", description="column of the question; dots reach into nested columns")
    answer: str = Field("answer", description="column of the gold answer; a list means alternatives")
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

    def load(self, key: str = "problems.train") -> list[Problem]:
        return problems_from_rows(self.rows(), self.dataset, self.prompt, self.answer, self.id, key)


def parse_source(value: Any) -> Any:
    """A source from its short form: ``arithmetic``, ``gym:FAMILY``, the path of a file, or a Hub id. Mappings may leave ``kind`` out."""
    if isinstance(value, str):
        if value == "arithmetic":
            return {"kind": "arithmetic"}
        if value.startswith("gym:"):
            return {"kind": "gym", "family": value.removeprefix("gym:")}
        if value.lower().endswith(KINDS + OTHER_KINDS) or Path(value).exists() or looks_like_path(value):
            return {"kind": "file", "path": value}
        return {"kind": "hub", "dataset": value}
    if isinstance(value, Mapping) and "kind" not in value:
        for key, kind in (("path", "file"), ("dataset", "hub"), ("family", "gym")):
            if key in value:
                return {"kind": kind, **value}
        return {"kind": "arithmetic", **value}
    return value


Source = Annotated[Annotated[Arithmetic | Gym | File | Hub, Field(discriminator="kind")], BeforeValidator(parse_source)]
