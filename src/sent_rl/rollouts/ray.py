"""Engines side by side on a Ray cluster, through Ray Data."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sent_rl.errors import UserError, first_line
from sent_rl.models import ModelConfig
from sent_rl.rollouts.config import EngineConfig, RayWorkers
from sent_rl.rollouts.engine import Request, Response, Sampling
from sent_rl.rollouts.engines import open_engine


class RayEngines:
    """So many engines as ``config.ray.workers`` says, each with the whole model; a worker that dies is replaced and its part drawn again.

    What is drawn is the same as by one engine: seeds belong to parts, not to workers. Responses come back to this machine, so the workers
    need no shared disk; they need this package, and the model where ``path`` says.

    Raises:
        UserError: Ray is not installed, there is no such cluster, or what an engine raises.
    """

    def __init__(self, config: EngineConfig, model: ModelConfig, path: str | None = None) -> None:
        assert config.ray is not None
        self.workers: RayWorkers = config.ray
        self.batch_size = config.batch_size
        self.arguments = (config.model_copy(update={"ray": None}).model_dump(), model.model_dump(), path)

    def sample_each(self, requests: Sequence[Request]) -> Iterator[tuple[int, list[list[Response]]]]:
        if not requests:
            return
        ray = _connect(self.workers)
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        rows = [{"place": place, "request": json.dumps(_plain(request))} for place, request in enumerate(requests)]
        drawn = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            fn_constructor_args=self.arguments,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(self.workers.workers, len(rows))),
            num_cpus=self.workers.cpus,
            num_gpus=self.workers.gpus,
        )
        try:
            for row in drawn.iter_rows():
                if row["error"]:
                    raise UserError(str(row["error"]))
                yield int(row["place"]), [[Response(**each) for each in group] for group in json.loads(row["responses"])]
        except ray.exceptions.RayError as error:
            raise UserError(f"engine.ray: {str(error).strip().splitlines()[-1]}") from error


class _Worker:
    """One engine in a process of Ray's. What it refuses comes back as a row: Ray would bury it under tracebacks, and try again."""

    def __init__(self, config: dict[str, Any], model: dict[str, Any], path: str | None) -> None:
        self.engine, self.refusal = None, ""
        try:
            self.engine = open_engine(EngineConfig(**config), ModelConfig(**model), path)
        except UserError as error:
            self.refusal = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        (place,), (text,) = batch["place"], batch["request"]  # one part at a time
        asked = json.loads(text)
        drawn, refusal = [], self.refusal
        try:
            if self.engine is not None:
                drawn = self.engine.sample(**{**asked, "sampling": Sampling(**asked["sampling"])})
        except UserError as error:
            refusal = str(error)
        return {"place": [place], "responses": [json.dumps([[asdict(each) for each in group] for group in drawn])], "error": [refusal]}


def _plain(request: Request) -> dict[str, Any]:
    return {**vars(request), "prompts": list(request.prompts), "sampling": request.sampling.model_dump()}


def _connect(workers: RayWorkers) -> Any:
    """Ray, connected to the cluster, with a word where it lacks what the workers ask for."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError("engine.ray: Ray Data is not installed; pip install 'sent-rl[ray]'") from error
    if not ray.is_initialized():
        try:
            ray.init(address=workers.address or "local", log_to_driver=False, **({} if workers.address else {"include_dashboard": False}))
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"engine.ray.address: no cluster at {workers.address} ({first_line(error)})") from error
    for kind, each in (("CPU", workers.cpus), ("GPU", workers.gpus)):
        there, asked = ray.cluster_resources().get(kind, 0), workers.workers * each
        if there < asked:
            lack = f"{workers.workers} workers want {asked:g} {kind}s and the cluster has {there:g}"
            if workers.address is None:
                raise UserError(f"engine.ray: {lack}; lower engine.ray.workers or engine.ray.{kind.lower()}s")
            warnings.warn(f"sent-rl: {lack}; the rest waits until it grows", stacklevel=3)
    return ray
