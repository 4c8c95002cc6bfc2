"""Sampling many responses to many problems."""

from sent_rl.rollouts.collect import collect
from sent_rl.rollouts.engine import Engine, Prompt, Response, Sampling

__all__ = ["Engine", "Prompt", "Response", "Sampling", "collect"]
