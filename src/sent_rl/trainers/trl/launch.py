"""Training in several processes of this machine: the command that accelerate's users would type."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from sent_rl.config import RunConfig, dump_config
from sent_rl.errors import UserError
from sent_rl.trainers.trl.layouts import check_layout, configuration

_GRACE = 60.0
"""Seconds that the launcher gets to end its workers."""
_PR_SET_PDEATHSIG = 1


def launch(config: RunConfig, curriculum: Path, folder: Path, processes: int, layout: str | None = None) -> None:
    """Run ``python -m sent_rl.train`` in so many processes, and wait for them.

    Args:
        layout: one of :func:`sent_rl.trainers.trl.layouts.layouts`, or an accelerate configuration of yours; without
            it every process holds the whole model.

    Raises:
        UserError: an unknown layout, or a process failed; what it printed stands above.
    """
    from sent_rl.trainers.trl.run import responses_per_process

    responses_per_process(config, processes)
    check_layout(config.train, layout)
    if layout is not None and not _accelerator_is_there():
        raise UserError(f"--layout {layout}: the layouts are for GPUs, and there is none; leave it out")
    with tempfile.TemporaryDirectory() as place:
        recipe = Path(place) / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(dump_config(config), sort_keys=False, allow_unicode=True), encoding="utf-8")
        shared = None if layout is None else configuration(layout, config.train.offload, Path(place))
        options = [str(recipe), "--curriculum", str(curriculum), "--out", str(folder)]
        code = _wait_for([*command(processes, shared), "-m", "sent_rl.train", *options])
    if code:
        raise UserError(f"train: a process of {processes} ended with code {code}; its message stands above")


def _accelerator_is_there() -> bool:
    import torch

    return torch.accelerator.is_available()


def _wait_for(launcher: list[str]) -> int:
    """Run the launcher; when this process is interrupted or told to end, so are the launcher and, by it, its workers."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    process = subprocess.Popen(launcher, preexec_fn=_end_with_parent)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_with_parent() -> None:
    """In the child, on Linux: be told to end when the parent is gone, however it went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def command(processes: int, shared: Path | None = None) -> list[str]:
    """What stands before ``-m sent_rl.train``. accelerate starts one process where it sees no GPU, so torchrun does there.

    Args:
        shared: accelerate's configuration; whole models without one.
    """
    import torch

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    if shared is None and not torch.cuda.is_available():
        address = ["--master-addr=127.0.0.1", f"--master-port={port}"]
        return [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", *address]
    path = str(shared or configuration("multi_gpu", False, Path()))
    start = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", path]
    return [*start, "--num_processes", str(processes), "--main_process_port", port]
