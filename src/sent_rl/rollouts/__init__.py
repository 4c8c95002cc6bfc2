"""Sampling many responses to many problems."""

from sent_rl.rollouts.collect import collect
from sent_rl.rollouts.engine import Engine, Prompt, Response, Sampling
from sent_rl.rollouts.recorded import Recorded, read_recorded, responses_to

__all__ = ["Engine", "Prompt", "Recorded", "Response", "Sampling", "collect", "read_recorded", "responses_to"]
