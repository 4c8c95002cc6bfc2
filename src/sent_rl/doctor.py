"""Whether this installation works, in a few lines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib import metadata, util

from sent_rl.models import EMBEDDED, ModelConfig, load
from sent_rl.problems import Prompting, arithmetic_problems
from sent_rl.rollouts import Sampling

_PACKAGES = ("sent-rl", "torch", "transformers", "trl", "accelerate", "datasets", "peft", "vllm", "verl", "ray", "reasoning-gym")


def lines() -> Iterator[str]:
    """What is installed, what the machine has, and a test question to the embedded model."""
    for package in _PACKAGES:
        try:
            yield f"{package:15} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            yield f"{package:15} not installed"
    if util.find_spec("trl") is not None and not metadata.version("trl").startswith("1.16."):
        yield "warning: this version of sent-rl is tested with TRL 1.16 only"
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield f"{'machine':15} {os.cpu_count()} cores, {', '.join(gpus) or 'no GPU'}, {shutil.disk_usage('.').free / 2**30:.0f} GiB free here"
    from sent_rl.rollouts.transformers import TransformersEngine

    model, tokenizer = load(ModelConfig())
    problem = arithmetic_problems([1], 1, "test")[0]
    answer = TransformersEngine(model, tokenizer).sample([Prompting().render(problem)], 1, Sampling(max_tokens=48), seed=0)[0][0]
    yield f"{'embedded model':15} {EMBEDDED.name}: {problem.prompt} -> {answer.text!r}"
