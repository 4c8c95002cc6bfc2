"""A real ``python -m verl.trainer.main_ppo`` on a CPU, with the embedded model and two stages of arithmetic."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sent_rl.models import EMBEDDED
from sent_rl.problems import Problem, arithmetic_problems
from sent_rl.problems.writing import VERL, verl_row

HERE = Path(__file__).parent
BATCH, GROUP = 4, 4
_TEMPLATE = r"{{ messages[0]['content'] + '\n' }}"


def write_rows(folder: Path, problems: int = 16, stages: int = 2) -> list[Problem]:
    """train.parquet, with stages, and val.parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    drawn = arithmetic_problems([1, 2], problems, "train", 0)
    rows = [verl_row(p, i) for i, p in enumerate(drawn)]
    for i, row in enumerate(rows):
        row["extra_info"] |= {"stage": i * stages // problems, "semantic_entropy": i / problems}
    info = VERL.field("extra_info").type
    staged = pa.struct([*info, pa.field("stage", pa.int64()), pa.field("semantic_entropy", pa.float64())])
    schema = VERL.set(VERL.get_field_index("extra_info"), pa.field("extra_info", staged))
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "train.parquet")
    pq.write_table(pa.Table.from_pylist(rows[:4], schema=schema), folder / "val.parquet")
    return drawn


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
        command = [sys.executable, "-m", "verl.trainer.main_ppo", *self._arguments(), *self.overrides]
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

    def _arguments(self) -> list[str]:
        fp32 = "{param_dtype: fp32, reduce_dtype: fp32, buffer_dtype: fp32}"
        model, actor, rollout = (f"actor_rollout_ref.{part}" for part in ("model", "actor", "rollout"))
        return [
            f"+ray_kwargs.ray_init.num_gpus={self.workers}",
            "ray_kwargs.ray_init.num_cpus=16",
            "+ray_kwargs.ray_init.include_dashboard=False",
            "trainer.device=cpu",
            "trainer.v1.trainer_mode=sent",
            "trainer.nnodes=1",
            f"trainer.n_gpus_per_node={self.workers}",
            "trainer.logger=[console,file]",
            "trainer.val_before_train=False",
            "trainer.test_freq=-1",
            "trainer.save_freq=2",
            f"trainer.default_local_dir={self.folder / 'checkpoints'}",
            "trainer.resume_mode=auto",
            "trainer.total_training_steps=4",
            f"trainer.rollout_data_dir={self.rollouts_path}",
            f"data.train_files={self.folder / 'train.parquet'}",
            f"data.val_files={self.folder / 'val.parquet'}",
            f"data.train_batch_size={BATCH}",
            "data.max_prompt_length=64",
            "data.max_response_length=48",
            "data.dataloader_num_workers=0",
            "data.shuffle=False",
            "algorithm.adv_estimator=grpo",
            f"{model}.path={EMBEDDED}",
            f"{model}.use_remove_padding=False",
            f'{model}.custom_chat_template="{_TEMPLATE}"',
            f"+{model}.override_config.attn_implementation=sdpa",
            f"{model}.enable_gradient_checkpointing=False",
            f"{actor}.strategy=fsdp2",
            f"{actor}.ppo_mini_batch_size={BATCH}",
            f"{actor}.ppo_micro_batch_size_per_gpu=4",
            f"{actor}.optim.lr=1e-4",
            f"{actor}.use_torch_compile=False",
            f"{actor}.fsdp_config.use_torch_compile=False",
            f"+{actor}.fsdp_config.mixed_precision={fp32}",
            f"{actor}.policy_loss._target_=sent_rl.trainers.verl.config.SENTPolicyLossConfig",
            f"+{actor}.policy_loss.method.name=sent",
            f"+{actor}.policy_loss.method.beta_high=0.5",
            "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=4",
            f"+actor_rollout_ref.ref.fsdp_config.mixed_precision={fp32}",
            f"{rollout}.name=generate_on_cpu",
            f"{rollout}.n={GROUP}",
            f"{rollout}.tensor_model_parallel_size=1",
            f"{rollout}.log_prob_micro_batch_size_per_gpu=4",
            f"{rollout}.agent.num_workers=1",
            f"{rollout}.calculate_log_probs=False",
            "reward.num_workers=1",
            "reward.custom_reward_function.path=pkg://sent_rl.trainers.verl.reward",
            "reward.custom_reward_function.name=compute_score",
            "+reward.custom_reward_function.reward_kwargs.extract_with=[hash]",
            "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        ]
