"""Sampling for a whole set of problems, in parts that survive a crash."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from sent_rl.errors import UserError
from sent_rl.files import read_table, write_table, write_text
from sent_rl.problems import Problem
from sent_rl.rollouts.engine import Engine, Prompt, Request, Response, Sampling, Workers, derived_seed

_SCHEMA = pa.schema({"problem": pa.int64(), "text": pa.string(), "tokens": pa.int64(), "finished": pa.bool_(), "logprob": pa.float64()})


def collect(
    engine: Engine | Workers,
    problems: Sequence[Problem],
    prompts: Sequence[Prompt],
    n: int,
    sampling: Sampling,
    seed: int,
    folder: Path,
    *,
    model: Any,
    logprobs: bool = False,
    advance: Callable[[int], None] = lambda problems: None,
) -> Iterator[tuple[Problem, list[Response]]]:
    """``n`` responses to every problem, one problem after the other, once all are drawn.

    Parts of about ``sampling.batch_size`` responses are written to ``folder`` as they are drawn; a second call with the same arguments
    reads what is there and draws the rest, with the same result as one call. Parts of another model, problem set or setting are thrown
    away. Only one part is in memory at a time, or one for each of several workers. The caller removes ``folder`` when it has stored its
    results.

    Raises:
        UserError: ``folder`` holds something else.

    Args:
        model: what tells this policy from another, as JSON; see ``models.model_identity``.
        advance: called first with the number of problems of the parts that were there already, 0 included, then
            with that of every part that is drawn.
    """
    per_part = max(1, (sampling.batch_size or engine.batch_size) // n)
    identity = [model, n, sampling.model_dump(), seed, logprobs, [p.id for p in problems], list(prompts)]
    fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    stamp = folder / "fingerprint"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != fingerprint:
        if folder.exists() and not stamp.is_file():
            raise UserError(f"{folder}: is in the way of unfinished samples and was not made by sent; move it or choose another output")
        shutil.rmtree(folder, ignore_errors=True)
        write_text(stamp, fingerprint)
    parts = [range(start, min(start + per_part, len(problems))) for start in range(0, len(problems), per_part)]
    paths = [folder / f"{number:06d}.parquet" for number in range(len(parts))]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    advance(sum(map(len, parts)) - sum(len(parts[number]) for number in missing))
    requests = [Request([prompts[i] for i in parts[m]], n, sampling, derived_seed(seed, m), logprobs) for m in missing]
    for place, drawn in _draw(engine, requests):
        part = parts[missing[place]]
        rows = [{"problem": i, **asdict(r)} for i, responses in zip(part, drawn, strict=True) for r in responses]
        write_table(paths[missing[place]], rows, _SCHEMA)
        advance(len(part))
    for part, path in zip(parts, paths, strict=True):
        of: dict[int, list[Response]] = {i: [] for i in part}
        for row in read_table(path):
            of[row.pop("problem")].append(Response(**row))
        yield from ((problems[i], of[i]) for i in part)


def _draw(engine: Engine | Workers, requests: Sequence[Request]) -> Iterator[tuple[int, list[list[Response]]]]:
    if isinstance(engine, Workers):
        yield from engine.sample_each(requests)
        return
    for place, request in enumerate(requests):
        yield place, engine.sample(request.prompts, request.n, request.sampling, request.seed, request.logprobs)
