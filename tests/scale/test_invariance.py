"""The same batch through every backend, cut in every way: one loss, one selection. Prints the table of docs/scale.md."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_verl_loss import actor, verls
from trl_helpers import GROUP, QUESTIONS, STRONG
from verl_batches import Step

from sent_rl.methods import get, names
from sent_rl.objective import policy_loss

METHODS = tuple(names())
SHOWN = ("sent", "kl_cov", "entropy_mask")
"""In the table; all are compared."""
OPTIONS = {**STRONG, "clip_cov": {"clip_fraction": 1.0, "cov_low": 0.01}}  # it draws by a row's place, and TRL shuffles rows
RESPONSES = GROUP * QUESTIONS
SHARDS = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
SHARDS |= {"FSDP_RESHARD_AFTER_FORWARD": "true", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT", "FSDP_CPU_RAM_EFFICIENT_LOADING": "false"}
DOCS = Path(__file__).parents[2] / "docs" / "scale.md"

Row = dict[str, tuple[float, int]]
"""Method -> loss of the second update of a rollout, and how many tokens were selected."""


def trl(folder: Path, processes: int, micro: int, extra: dict[str, str] | None = None) -> Row:
    """TRL's trainer: losses of micro-batches add up, ranks are averaged."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", f"--master-port={port}", "--master-addr=127.0.0.1"]
    out = folder / f"{processes}-{micro}-{bool(extra)}"
    script = [str(Path(__file__).parents[1] / "two_ranks.py"), str(out), json.dumps(OPTIONS), *METHODS, "--micro", str(micro)]
    dump = ["--dump"] if micro == RESPONSES else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(extra or {})}
    done = subprocess.run([*start, *script, *dump], env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads(out.with_name(f"{out.name}-{rank}.json").read_text()) for rank in range(processes)]
    cuts = RESPONSES // processes // micro
    rows: Row = {}
    for name in METHODS:
        losses = [sum(rank[name]["losses"][cuts : 2 * cuts]) for rank in ranks]
        kl_coef, weight, _ = torch.tensor(ranks[0][name]["treatments"][0])  # of the whole step, the same on all ranks
        rows[name] = (sum(losses) / processes, selected(kl_coef, weight))
    return rows


def selected(kl_coef: torch.Tensor, weight: torch.Tensor) -> int:
    return int(((kl_coef > 0) | ((weight > 0) & (weight != 1))).sum())


def step_of(folder: Path, name: str) -> Step:
    """The tensors of the second update, in float64."""
    found = torch.load(folder / f"1-{RESPONSES}-False-{name}.pt")
    mask = found.pop("mask").bool()
    return Step(mask=mask, **{key: value.double().where(mask, 0.0) for key, value in found.items()})


def objective(folder: Path) -> Row:
    rows: Row = {}
    for name in METHODS:
        step, method = step_of(folder, name), get(name, **OPTIONS.get(name, {}))
        t = method.treat(step.rollouts())
        loss = policy_loss(step.new, step.old, t, step.mask, ref_logps=step.reference, entropies=step.new_entropies, loss_type="dapo").total
        rows[name] = (loss.item(), selected(t.kl_coef.where(step.mask, 0.0), t.policy_weight.where(step.mask, 1.0)))
    return rows


def verl(folder: Path, workers: int, micro: int) -> Row:
    """verl's worker loss on the micro-batches of every worker."""
    cut = [list(range(start, start + micro)) for start in range(0, RESPONSES, micro)]
    rows: Row = {}
    for name in METHODS:
        step, options = step_of(folder, name), {"name": name, **OPTIONS.get(name, {})}
        t = get(**options).treat(step.rollouts())
        loss, _ = verls(step, get(**options), actor(options), cut, workers)
        rows[name] = (loss, selected(t.kl_coef.where(step.mask, 0.0), t.policy_weight.where(step.mask, 1.0)))
    return rows


def as_table(rows: dict[Sequence[Any], Row]) -> str:
    lines = ["| backend | processes | micro-batch | " + " | ".join(f"`{name}`: loss | tokens" for name in SHOWN) + " |"]
    lines.append("|---" * (3 + 2 * len(SHOWN)) + "|")
    for key, row in rows.items():
        lines.append("| " + " | ".join([*map(str, key), *(f"{row[name][0]:.7f} | {row[name][1]}" for name in SHOWN)]) + " |")
    return "\n".join(lines)


@pytest.mark.timeout(600)
def test_one_loss_and_one_selection(tmp_path: Path) -> None:
    rows: dict[Sequence[Any], Row] = {("TRL", 1, RESPONSES): trl(tmp_path, 1, RESPONSES)}
    rows = {("objective", 1, RESPONSES): objective(tmp_path), **rows}
    rows |= {("TRL", 1, micro): trl(tmp_path, 1, micro) for micro in (8, 4)}
    rows |= {("TRL", 2, micro): trl(tmp_path, 2, micro) for micro in (8, 4)}
    rows[("TRL, FSDP2", 2, 4)] = trl(tmp_path, 2, 4, SHARDS)
    rows |= {("verl", 1, micro): verl(tmp_path, 1, micro) for micro in (16, 4, 1)}
    rows |= {("verl", 2, micro): verl(tmp_path, 2, micro) for micro in (8, 2)}
    table = as_table(rows)
    print(f"\n{table}")
    truth = rows[("objective", 1, RESPONSES)]
    for key, row in rows.items():
        for name in METHODS:
            assert row[name][0] == pytest.approx(truth[name][0], abs=1e-6), (key, name)
            assert row[name][1] == truth[name][1], (key, name)
    assert len({truth[name] for name in SHOWN}) == len(SHOWN)
    documented = [line for line in DOCS.read_text().splitlines() if line.startswith(("| objective", "| TRL", "| verl"))]
    stands, found = ([re.findall(r"-?\d+\.\d{7}|\b\d+\b", line) for line in lines] for lines in (documented, table.splitlines()[2:]))
    assert len(stands) == len(found), "docs/scale.md: the table is missing or another"
    for there, here in zip(stands, found, strict=True):
        assert [float(x) for x in there] == pytest.approx([float(x) for x in here], abs=2e-6)
