"""One thread everywhere, and the small things that many tests need."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the network
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from sent_rl import cli
from sent_rl.models import EMBEDDED

Sent = Callable[..., tuple[int, str, str]]

# `make test-scale` and `make test-vllm` run these in virtual environments that have verl and vLLM
_OWN = {"scale": "verl", "with_vllm": "vllm"}
_FOUND = {package: importlib.util.find_spec(package) for package in _OWN.values()}
collect_ignore_glob = [f"{folder}/*" for folder, package in _OWN.items() if getattr(_FOUND[package], "origin", None) is None]
torch.set_num_threads(1)
settings.register_profile("tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(scope="session")
def model_path() -> str:
    """The embedded model's folder."""
    return str(EMBEDDED)


@pytest.fixture
def shared_data() -> Path:
    """Benchmark files that are not part of the repository."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    return folder


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Sent:
    """Runs the command in this process, in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sent", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run
