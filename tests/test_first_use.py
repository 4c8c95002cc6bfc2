"""What somebody meets who tries the command for the first time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Sent

from sent_rl.config import load_config


@pytest.mark.parametrize(
    ("n", "k"), [(1, [1]), (4, [1, 4]), (8, [1, 8]), (20, [1, 8, 16, 20]), (32, [1, 8, 16, 32]), (64, [1, 8, 16, 32, 64])]
)
def test_the_default_k_follows_the_number_of_samples(n: int, k: list[int]) -> None:
    assert load_config(None, [f"evaluate.samples={n}"]).evaluate.k == k
    assert load_config(None, [f"evaluate.samples={n}", "evaluate.k=[1]"]).evaluate.k == [1]


def test_n_alone_is_enough(sent: Sent, tmp_path: Path) -> None:
    few = ["--set", "problems.test.count=2", "--set", "evaluate.sampling.max_tokens=8"]
    code, out, err = sent("evaluate", "embedded", "--out", "e", "--n", "4", *few)
    assert code == 0, err
    assert "pass@4" in out
    found = json.loads((tmp_path / "e" / "results.json").read_text())
    assert set(found["models"]["embedded"]) == {"avg@1", "avg@4", "pass@1", "pass@4"}
