"""Sampling many responses to many problems."""

from sent_rl.rollouts.collect import collect
from sent_rl.rollouts.config import EngineConfig
from sent_rl.rollouts.engine import Engine, Prompt, Response, Sampling, Workers
from sent_rl.rollouts.engines import check_engine, engine_identity, engine_path, open_engine
from sent_rl.rollouts.lazy import LazyEngine, lazy_engine
from sent_rl.rollouts.recorded import Recorded, read_recorded, responses_to

__all__ = [
    "Engine",
    "EngineConfig",
    "LazyEngine",
    "Prompt",
    "Recorded",
    "Response",
    "Sampling",
    "Workers",
    "check_engine",
    "collect",
    "engine_identity",
    "engine_path",
    "lazy_engine",
    "open_engine",
    "read_recorded",
    "responses_to",
]
