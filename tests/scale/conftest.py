"""Tests that need verl; `make test-scale` runs them in a virtual environment that has it. Elsewhere they are skipped."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("verl") else ["test_*.py"]
