"""Whether this installation works, in a few lines."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata, util

from sent_rl.models import EMBEDDED, ModelConfig, load
from sent_rl.problems import Prompting, arithmetic_problems
from sent_rl.rollouts import Sampling

_PACKAGES = ("sent-rl", "torch", "transformers", "trl", "accelerate", "datasets", "peft", "vllm", "openai", "ray", "verl", "reasoning-gym")


_ASK_VERL = "import verl; from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY as r; print('sent' in r)"


def _verl_plugin() -> str:
    """Whether verl, started for itself, finds the trainer mode; verl hides why where it does not, the plug-in says it as a warning."""
    done = subprocess.run([sys.executable, "-c", _ASK_VERL], capture_output=True, text=True, timeout=300, check=False)
    if done.stdout.strip().endswith("True"):
        return "loaded, trainer mode 'sent' is there"
    said = [line for line in done.stderr.splitlines() if "sent-rl:" in line] or done.stderr.strip().splitlines()[-1:]
    return f"NOT loaded: {' '.join(said) or 'no entry point; install sent-rl again in this environment'}"


def lines() -> Iterator[str]:
    """What is installed, what the machine has, and a test question to the embedded model."""
    for package in _PACKAGES:
        try:
            yield f"{package:15} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            yield f"{package:15} not installed"
    if util.find_spec("trl") is not None and not metadata.version("trl").startswith("1.16."):
        yield "warning: this version of sent-rl is tested with TRL 1.16 only"
    if util.find_spec("verl") is not None:
        yield f"{'verl plug-in':15} {_verl_plugin()}"
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield f"{'machine':15} {os.cpu_count()} cores, {', '.join(gpus) or 'no GPU'}, {shutil.disk_usage('.').free / 2**30:.0f} GiB free here"
    from sent_rl.rollouts.transformers import TransformersEngine

    model, tokenizer = load(ModelConfig())
    problem = arithmetic_problems([1], 1, "test")[0]
    answer = TransformersEngine(model, tokenizer).sample([Prompting().render(problem)], 1, Sampling(max_tokens=48), seed=0)[0][0]
    yield f"{'embedded model':15} {EMBEDDED.name}: {problem.prompt} -> {answer.text!r}"
