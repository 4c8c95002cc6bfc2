"""Models x question sets -> samples -> verdicts -> results, each part written when it is done and not done again."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sent_rl.evaluation.evaluate import SAMPLES, Reader, results, sample_rows
from sent_rl.files import Renew, claim, write_json, write_table
from sent_rl.models import ModelConfig
from sent_rl.problems import PROBLEMS, Problem, problem_row
from sent_rl.rollouts import EngineConfig, LazyEngine, Prompt, Response, Sampling, collect, engine_identity, lazy_engine

Sampled = Iterator[tuple[Problem, list[Response]]]
Progress = Callable[[str, int], Any]
"""Called with a title and a number of problems; a context manager that yields what counts them."""


@dataclass(frozen=True)
class QuestionSet:
    """Questions of one table of results: ``prompts`` go to the model, ``folder`` is where the results belong."""

    name: str
    problems: Sequence[Problem]
    prompts: Sequence[Prompt]
    folder: Path

    @property
    def is_done(self) -> bool:
        return (self.folder / "results.json").is_file()

    @cached_property
    def groups(self) -> dict[str, str] | None:
        """Problem id -> group, where the problems have groups."""
        found = {p.id: str(p.metadata["group"]) for p in self.problems if p.metadata.get("group")}
        return found if len(found) == len(self.problems) else None

    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps([[p.id, *p.golds, p.tolerance] for p in self.problems]).encode()).hexdigest()


class Sampler:
    """Draws ``n`` responses of one model to the problems of a set, in parts below the set's folder."""

    def __init__(
        self, engine: EngineConfig, model: ModelConfig, path: str | None, number: int, n: int, sampling: Sampling, seed: int
    ) -> None:
        self.engine, self.identity = lazy_engine(engine, model, path), engine_identity(engine, model, path)
        self.number, self.n, self.sampling, self.seed = number, n, sampling, seed

    def parts(self, questions: QuestionSet) -> Path:
        return questions.folder / f"model-{self.number}.parts"

    def responses(self, questions: QuestionSet, advance: Callable[[int], None] = lambda problems: None) -> Sampled:
        return collect(
            self.engine, questions.problems, questions.prompts, self.n, self.sampling, self.seed, self.parts(questions),
            model=self.identity, advance=advance,
        )  # fmt: skip

    def release(self) -> None:
        """Give the model's memory back."""
        if isinstance(self.engine, LazyEngine):
            self.engine.close()
        gc.collect()


def draw(samplers: Mapping[str, Sampler], sets: Iterable[QuestionSet], progress: Progress) -> None:
    """Sample every model on every set that is not done; one model in memory at a time."""
    pending = [questions for questions in sets if not questions.is_done]
    for model, sampler in samplers.items():
        for questions in pending:
            title = f"evaluate {model}" + (f" on {questions.name}" if questions.name else "")
            with progress(title, len(questions.problems)) as advance:
                for _ in sampler.responses(questions, advance):
                    pass
        sampler.release()


def judge(sampled: Mapping[str, Sampled], questions: QuestionSet, readers: Mapping[str, Reader], ks: Sequence[int]) -> dict[str, Any]:
    """Verdicts on the responses of every model -> problems.parquet, samples.parquet and results.json of the set.

    Args:
        readers: model -> what finds the answer in its responses.

    Returns:
        The content of results.json.
    """
    light: list[dict[str, Any]] = []

    def rows() -> Iterator[dict[str, Any]]:
        for model, responses in sampled.items():
            for row in sample_rows(model, responses, readers[model]):
                light.append({key: value for key, value in row.items() if key != "text"})
                yield row

    write_table(questions.folder / "problems.parquet", map(problem_row, questions.problems), PROBLEMS)
    write_table(questions.folder / "samples.parquet", rows(), SAMPLES)
    found = results(light, ks, questions.groups)
    write_json(questions.folder / "results.json", found)
    return found


def judge_drawn(samplers: Mapping[str, Sampler], questions: QuestionSet, readers: Mapping[str, Reader], ks: Sequence[int]) -> None:
    """:func:`judge` what :func:`draw` has drawn, and remove its parts."""
    judge({model: sampler.responses(questions) for model, sampler in samplers.items()}, questions, readers, ks)
    for sampler in samplers.values():
        shutil.rmtree(sampler.parts(questions), ignore_errors=True)


def claim_set(questions: QuestionSet, settings: Mapping[str, Any], renew: Renew) -> None:
    """Make the set's folder the place of this evaluation, or find that it is.

    Raises:
        UserError: it holds another.
    """
    claim(questions.folder, "evaluation.yaml", {**settings, "problems": questions.fingerprint()}, renew=renew)
