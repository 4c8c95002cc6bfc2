"""Simulated studies, for the tests of inference over runs."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@cache
def simulations() -> Any:
    """scripts/simulate_studies.py, whose longer runs the docs quote."""
    spec = importlib.util.spec_from_file_location("simulate_studies", ROOT / "scripts" / "simulate_studies.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["simulate_studies"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def committed() -> Any:
    """The spread of runs and questions of docs/study/arithmetic, Avg@16, measured from its cells."""
    tools = simulations()
    return tools.committed_world(tools.collect_cells(tools.load_study("arithmetic"), tools.COMMITTED), "avg@16")
