"""A recipe as a verl job: every key is translated, refused, or apart for a reason; what is written, and whether it runs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from sent_rl.cli import app
from sent_rl.config import RunConfig, load_config, recipe_names
from sent_rl.errors import UserError
from sent_rl.models import EMBEDDED
from sent_rl.problems import arithmetic_problems, problem_row
from sent_rl.trainers.verl.export import export, overrides
from sent_rl.trainers.verl.translation import KEYS, Apart, Job, Refused, translate


def words(*settings: str) -> dict[str, str]:
    """The exported overrides by key."""
    arguments = overrides(load_config("quickstart", settings), gpus=4, nodes=2, prompt_tokens=100, engine="vllm")
    return dict(argument.split("=", 1) for argument in arguments)


def test_a_recipe_in_verls_words() -> None:
    found = words("train.updates_per_rollout=2", "train.save_steps=30", "method.beta_high=0.5")
    assert found["trainer.v1.trainer_mode"] == "sent"
    assert (found["trainer.nnodes"], found["trainer.n_gpus_per_node"]) == ("2", "4")
    assert (found["data.train_batch_size"], found["actor_rollout_ref.actor.ppo_mini_batch_size"]) == ("16", "8")
    assert (found["trainer.total_training_steps"], found["trainer.save_freq"]) == ("30", "15")  # a step of verl is a rollout
    assert "name: sent" in found["+actor_rollout_ref.actor.policy_loss.method"]
    assert "beta_high: 0.5" in found["+actor_rollout_ref.actor.policy_loss.method"]
    assert found["actor_rollout_ref.model.custom_chat_template"] == "\"{{ messages[0]['content'] }}\""
    assert Path(found["actor_rollout_ref.model.path"]).is_dir()  # not "embedded", which verl does not know
    assert "actor_rollout_ref.model.custom_chat_template" not in words("prompting.chat=true")
    # as TRL has them by default, where verl's own defaults are others
    assert float(found["actor_rollout_ref.actor.optim.weight_decay"]) == 0 < 1e6 < float(found["actor_rollout_ref.actor.clip_ratio_c"])
    assert words("train.steps=3", "train.updates_per_rollout=2")["trainer.total_training_steps"] == "2"  # the second is for one update
    assert words("score.unparsed=shared")["+actor_rollout_ref.actor.policy_loss.unparsed"] == "shared"
    assert words("answers.reward=[answer_line]")["+reward.custom_reward_function.reward_kwargs.extract_with"] == "[answer_line]"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.updates_per_rollout=64", "does not divide 16"),
        ("train={questions_per_step: 5, generations: 3}", "the 15 responses of an update cannot be shared out to 8 GPUs; change it"),
        ("train.stage_reset=[optimizer]", "name all three or none"),
        ("train.trl={max_grad_norm: 0.1, use_bias_correction_kl: false}", r"settings for TRL \(max_grad_norm\) mean nothing to verl"),
        ("train.trl={use_bias_correction_kl: true}", "mean nothing to verl"),
        ("train.lora={r: 4}", r"train.lora: .*actor_rollout_ref.model.lora_rank.*leave it out"),
        ("train.report_to=[comet_ml]", "train.report_to: verl does not know 'comet_ml'"),
        ("model.stop=['\\n']", r"model.stop: .*generation_config.json"),
        ("model.dtype=auto", "model.dtype: verl has no word for 'auto'"),
    ],
)
def test_what_verl_has_no_word_for_is_refused(setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        words(setting)


def test_a_job_a_stage_would_forget_a_controller() -> None:
    anew = "train.stage_reset=[optimizer, schedule, reference]"
    assert words(anew, "method.name=sent")
    with pytest.raises(UserError, match="would also reset the controller of method 'sent_adaptive'"):
        words(anew, "method.name=sent_adaptive")


def leaf_keys(section: type[BaseModel], at: str = "") -> list[str]:
    """Every key of a section, dotted; a section that may be absent, a source and the method are one key each."""
    found = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and name != "method":
            found += leaf_keys(kind, f"{at}{name}.")
        else:
            found.append(f"{at}{name}")
    return found


def test_every_key_of_a_recipe_means_something_to_verl_or_is_refused() -> None:
    """A new key needs an entry in ``translation.KEYS``: a translation, a refusal, or the reason why it is apart."""
    keys = leaf_keys(RunConfig)
    assert {"model.dtype", "problems.train", "method", "train.offload", "engine.ray", "score.sampling.top_p"} <= set(keys)
    for key in keys:
        entries = [entry for entry in KEYS if key == entry or key.startswith(f"{entry}.")]
        assert len(entries) == 1, f"{key}: {entries}"
    for entry in KEYS:
        assert any(key == entry or key.startswith(f"{entry}.") for key in keys), f"{entry} is no key"


def test_no_two_keys_write_the_same_word() -> None:
    job = Job(load_config("published-14b"), 4, 1, 1024, "vllm")
    found = Counter(word for entry in KEYS.values() if not isinstance(entry, Apart | Refused) for word in entry(job))
    assert max(found.values()) == 1, found.most_common(3)
    assert set(translate(job)) > set(found)


# A key, a value of it, and the words that have to follow.
CHANGES = {
    "name=mine": {"trainer.experiment_name": "mine"},
    "seed=7": {"data.seed": "7", "actor_rollout_ref.actor.data_loader_seed": "7", "actor_rollout_ref.rollout.seed": "7"},
    "model.dtype=bfloat16": {
        "actor_rollout_ref.actor.fsdp_config.model_dtype": "bf16", "actor_rollout_ref.ref.fsdp_config.model_dtype": "bf16",
    },
    "answers.reward=[boxed]": {"+reward.custom_reward_function.reward_kwargs.extract_with": "[boxed]"},
    "answers.thoughts=true": {"+reward.custom_reward_function.reward_kwargs.thoughts": "true"},
    "answers.opened=true": {"+reward.custom_reward_function.reward_kwargs.opened": "true"},
    "train.passes=3": {"trainer.total_epochs": "3", "+actor_rollout_ref.actor.policy_loss.stage_passes": "3"},
    "train.micro_batch=4": {
        "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": str(4 * (100 + 64)),
        "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu": str(8 * (100 + 64)),
    },
    "train.learning_rate=0.5": {"actor_rollout_ref.actor.optim.lr": "0.5"},
    "train.kl_coef=0.25": {"actor_rollout_ref.actor.kl_loss_coef": "0.25", "actor_rollout_ref.actor.use_kl_loss": "true"},
    "train.temperature=0.5": {"actor_rollout_ref.rollout.temperature": "0.5"},
    "train.max_tokens=32": {"data.max_response_length": "32"},
    "train.gradient_checkpointing=true": {"actor_rollout_ref.model.enable_gradient_checkpointing": "true"},
    "train.offload=true": {
        "actor_rollout_ref.actor.fsdp_config.offload_policy": "true", "actor_rollout_ref.ref.fsdp_config.offload_policy": "true",
    },
    "train.report_to=[wandb]": {"trainer.logger": "[console, wandb]"},
}  # fmt: skip


@pytest.mark.parametrize("setting", CHANGES)
def test_what_a_key_becomes(setting: str) -> None:
    before, after = words(), words(setting)
    assert {key: after[key] for key in CHANGES[setting]} == CHANGES[setting]
    assert any(before.get(key) != value for key, value in CHANGES[setting].items())


def test_a_micro_batch_is_no_larger_than_the_share_of_a_gpu() -> None:
    for setting in ("train.micro_batch=64", "train.micro_batch=null"):  # of 128 responses on 8 GPUs
        assert words(setting)["actor_rollout_ref.actor.ppo_max_token_len_per_gpu"] == str(16 * (100 + 64))


def test_micro_batches_are_exact_where_the_method_depends_on_them() -> None:
    found = words("method={name: kl_cov, scope: micro_batch}", "train.micro_batch=4")
    assert found["actor_rollout_ref.actor.use_dynamic_bsz"] == found["actor_rollout_ref.rollout.log_prob_use_dynamic_bsz"] == "false"
    for key in ("actor.ppo_micro_batch", "rollout.log_prob_micro_batch", "ref.log_prob_micro_batch"):
        assert found[f"actor_rollout_ref.{key}_size_per_gpu"] == "4"
    with pytest.raises(UserError, match="cannot be shared out to 8 GPUs in whole micro-batches"):
        words("method={name: kl_cov, scope: micro_batch}", "train.questions_per_step=12", "train.micro_batch=8")


def test_a_stage_that_starts_anew_is_a_job_of_its_own(tmp_path: Path) -> None:
    """The script runs with programs that stand in for verl's and write down what they are told."""
    settings = ["train.stage_reset=[reference, optimizer, schedule]", "train.questions_per_step=4", "train.steps=5"]
    config = load_config("quickstart", [*settings, "problems.train.count=12"])
    rows = [{**problem_row(p), "stage": int(i >= 8)} for i, p in enumerate(config.problems.train.load())]
    job = tmp_path / "job,lr=1e-6(1)"  # the job's own path becomes a model path, which Hydra has to read
    export(config, job, curriculum=rows, gpus=1)
    stages = [pq.read_table(job / f"train-{stage}.parquet").to_pylist() for stage in (0, 1)]
    assert [[row["extra_info"]["index"] for row in stage] for stage in stages] == [list(range(8)), list(range(8, 12))]
    assert not (job / "train.parquet").exists()

    (tmp_path / "python").write_text(STAND_IN)
    (tmp_path / "python").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for again in (False, True):
        done = subprocess.run(["bash", str(job / "command.sh"), "a.b=c"], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.endswith(f"trained model: {job / 'model-1'}\n")
        lines = (job / "calls").read_text().splitlines()
        assert len(lines) == 4, again
    told = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
    first, second = told[0], told[2]
    assert (first["data.train_files"], second["data.train_files"]) == ("train-0.parquet", "train-1.parquet")
    assert (first["trainer.total_training_steps"], second["trainer.total_training_steps"]) == ("3", "2")
    assert first["actor_rollout_ref.model.path"] == f'"{EMBEDDED}"'
    assert second["actor_rollout_ref.model.path"] == f'"{job / "model-0"}"'
    assert first["trainer.default_local_dir"] != second["trainer.default_local_dir"]
    assert first["a.b"] == second["a.b"] == "c"
    assert "--local_dir checkpoints/stage-1/global_step_2/actor" in lines[3]


STAND_IN = """#!/usr/bin/env bash
echo "$@" >> calls
for word in "$@"; do
  case "$word" in
    trainer.default_local_dir=*) folder="${word#*=}" ;;
    trainer.total_training_steps=*) steps="${word#*=}" ;;
    model-*.partial) mkdir "$word" ;;
  esac
done
if [ -n "${folder:-}" ]; then mkdir -p "$folder"; echo "$steps" > "$folder/latest_checkpointed_iteration.txt"; fi
"""


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith(("paper", "published"))])
def test_the_papers_recipes_are_exported_with_their_stages(name: str, tmp_path: Path) -> None:
    config, problems = load_config(name), arithmetic_problems([2], 512, "train")
    rows = [{**problem_row(p), "stage": i // 256} for i, p in enumerate(problems)]
    found = dict(word.split("=", 1) for word in export(config, tmp_path / "job", curriculum=rows, gpus=4))
    assert len(list((tmp_path / "job").glob("train*.parquet"))) == (2 if name.startswith("published") else 1)
    assert found["data.max_prompt_length"] == "1024"
    assert ("actor_rollout_ref.actor.fsdp_config.offload_policy" in found) == name.endswith("14b")


def test_prompts_and_responses_fit_the_model(tmp_path: Path) -> None:
    config, problems = load_config("paper-7b"), arithmetic_problems([2], 256, "train")
    with pytest.raises(UserError, match=r"--prompt-tokens 2049: .* 4096 positions .* at most 2048"):
        export(config, tmp_path / "job", train=problems, prompt_tokens=2049)
    found = export(load_config("quickstart"), tmp_path / "job", train=problems)
    assert "data.max_prompt_length=64" in found  # of the 128 positions


def test_the_job_is_written_whole_and_never_over_another(tmp_path: Path) -> None:
    config = load_config("quickstart", ["problems.train.count=6", "problems.test.count=2", "train.questions_per_step=3", "train.steps=4"])
    problems = config.problems.train.load()
    rows: list[dict[str, Any]] = [{**problem_row(p), "stage": i // 3, "semantic_entropy": 0.5} for i, p in enumerate(problems)]
    export(config, tmp_path / "job", curriculum=rows, test=config.problems.test.load(), gpus=1)
    staged = pq.read_table(tmp_path / "job" / "train.parquet").to_pylist()
    assert [row["extra_info"]["stage"] for row in staged] == [0, 0, 0, 1, 1, 1]
    assert [row["extra_info"]["index"] for row in staged] == list(range(6))
    assert staged[0]["prompt"] == [{"role": "user", "content": f"{problems[0].prompt}\n"}]
    assert staged[0]["reward_model"]["ground_truth"] == problems[0].answer
    assert pq.read_table(tmp_path / "job" / "val.parquet").num_rows == 2
    script = (tmp_path / "job" / "command.sh").read_text()
    command = shlex.split(script[script.index("exec") :].replace("\\\n", " "))
    assert command[1:4] == ["python", "-m", "verl.trainer.main_ppo"]
    assert "trainer.v1.trainer_mode=sent" in command
    with pytest.raises(UserError, match="exists already"):
        export(config, tmp_path / "job")
    large = load_config("quickstart")
    for few, message in (({"curriculum": rows}, "a stage has 3 problems, fewer than the 16"), ({"train": problems}, "only 6 problems")):
        with pytest.raises(UserError, match=message):
            export(large, tmp_path / "other", **few)


def test_a_job_finds_its_model_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    for gpus, shards in ((1, 1), (4, 2), (3, 1)):
        arguments = overrides(load_config("quickstart", ["model.path=./mine", "train.questions_per_step=12"]), gpus, 1, 64, "vllm")
        assert f"actor_rollout_ref.model.path={tmp_path / 'mine'}" in arguments
        assert f"actor_rollout_ref.rollout.tensor_model_parallel_size={shards}" in arguments


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "job"
    done = CliRunner().invoke(app, ["export", "verl", "quickstart", "--out", str(out), "--gpus", "2"], catch_exceptions=False)
    assert done.exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["cluster.sh", "command.sh", "train.parquet", "val.parquet"]
    assert "--num-gpus=2" in (out / "cluster.sh").read_text()
    assert pq.read_table(out / "train.parquet").num_rows == 1200
