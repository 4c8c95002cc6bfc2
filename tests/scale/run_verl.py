"""A real verl job on a CPU: what ``sent export verl`` writes, with the embedded model and two stages of arithmetic."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sent_rl.config import load_config
from sent_rl.problems import Problem, problem_row
from sent_rl.trainers.verl.export import export

HERE = Path(__file__).parent
BATCH, GROUP = 4, 4
_RECIPE = {
    "problems.train": {"kind": "arithmetic", "levels": [1, 2], "count": 16},
    "problems.test": {"kind": "arithmetic", "levels": [1, 2], "count": 4, "split": "test"},
    "method": {"name": "sent", "beta_high": 0.5},
    "train.steps": 4,
    "train.questions_per_step": BATCH,
    "train.generations": GROUP,
    "train.max_tokens": 48,
    "train.learning_rate": 1e-4,
    "train.save_steps": 2,
    "train.report_to": ["file"],
}


def write_job(folder: Path, stages: int = 2, **changes: Any) -> list[Problem]:
    """``sent export verl`` of a small recipe with stages, into ``folder/job``; returns its problems in order. ``changes``: keys of it."""
    config = load_config("quickstart", [], {**_RECIPE, **changes})
    problems = config.problems.train.load()
    rows = [{**problem_row(p), "stage": i * stages // len(problems), "semantic_entropy": i / len(problems)} for i, p in enumerate(problems)]
    export(config, folder / "job", curriculum=rows, test=config.problems.test.load("problems.test"), gpus=1, prompt_tokens=64)
    return problems


@dataclass
class Run:
    """One call of main_ppo in ``folder``; ``method`` as on verl's command line, ``overrides`` come last and win."""

    folder: Path
    name: str
    workers: int = 1
    overrides: list[str] = field(default_factory=list)

    @property
    def metrics_path(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    @property
    def log_path(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def rollouts_path(self) -> Path:
        return self.folder / f"{self.name}-rollouts"

    def questions(self, step: int) -> list[str]:
        """The questions of a step, as the model saw them."""
        lines = (self.rollouts_path / f"{step}.jsonl").read_text().splitlines()
        return sorted({json.loads(line)["input"].strip() for line in lines})

    def start(self) -> subprocess.Popen[bytes]:
        command = ["bash", str(self.folder / "job" / "command.sh"), *self._on_a_cpu(), *self.overrides]
        with self.log_path.open("wb") as log:
            return subprocess.Popen(command, cwd=self.folder, env=self._environment(), stdout=log, stderr=log, start_new_session=True)

    def steps(self) -> list[dict[str, Any]]:
        """The metrics of every finished step."""
        if not self.metrics_path.is_file():
            return []
        lines = [json.loads(line) for line in self.metrics_path.read_text().splitlines() if line.endswith("}")]
        return [{"step": line["step"], **line["data"]} for line in lines]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            "VERL_PLATFORM": "cpu",
            "VERL_ENGINE_DEVICE": "cuda",  # the engine that is registered
            "VERL_USE_EXTERNAL_MODULES": "verl_on_cpu",
            "VERL_FILE_LOGGER_PATH": str(self.metrics_path),
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DEDUP_LOGS": "0",
            "HYDRA_FULL_ERROR": "1",
        }

    def _on_a_cpu(self) -> list[str]:
        """What verl has to be told besides the exported command, to run without an accelerator."""
        fp32 = "{param_dtype: fp32, reduce_dtype: fp32, buffer_dtype: fp32}"
        model, actor, rollout = (f"actor_rollout_ref.{part}" for part in ("model", "actor", "rollout"))
        return [
            f"+ray_kwargs.ray_init.num_gpus={self.workers}",
            "ray_kwargs.ray_init.num_cpus=16",
            "+ray_kwargs.ray_init.include_dashboard=False",
            "trainer.device=cpu",
            f"trainer.n_gpus_per_node={self.workers}",
            f"trainer.default_local_dir={self.folder / 'checkpoints'}",
            f"trainer.rollout_data_dir={self.rollouts_path}",
            f"{model}.use_remove_padding=False",
            f"+{model}.override_config.attn_implementation=sdpa",
            f"{model}.enable_gradient_checkpointing=False",
            f"{actor}.use_dynamic_bsz=False",
            f"{actor}.ppo_micro_batch_size_per_gpu=4",
            f"{actor}.use_torch_compile=False",
            f"{actor}.fsdp_config.use_torch_compile=False",
            f"+{actor}.fsdp_config.mixed_precision={fp32}",
            f"+actor_rollout_ref.ref.fsdp_config.mixed_precision={fp32}",
            "actor_rollout_ref.ref.log_prob_use_dynamic_bsz=False",
            "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=4",
            f"{rollout}.name=generate_on_cpu",
            f"{rollout}.tensor_model_parallel_size=1",
            f"{rollout}.log_prob_use_dynamic_bsz=False",
            f"{rollout}.log_prob_micro_batch_size_per_gpu=4",
            f"{rollout}.agent.num_workers=1",
            f"{rollout}.calculate_log_probs=False",
            "reward.num_workers=1",
            "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        ]
