from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sent_rl.cli import app
from sent_rl.config import load_config
from sent_rl.errors import UserError
from sent_rl.models import EMBEDDED
from sent_rl.problems import problem_row
from sent_rl.trainers.verl.export import export, overrides


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
    assert words("answers.reward=[answer_line]")["+reward.custom_reward_function.reward_kwargs.extract_with"] == "[answer_line]"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.updates_per_rollout=64", "does not divide 16"),
        ("train.stage_reset=[optimizer]", "leave it empty"),
        ("train.trl={beta: 0.1}", "mean nothing to verl"),
    ],
)
def test_what_verl_has_no_word_for_is_refused(setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        words(setting)


def test_the_job_is_written_whole_and_never_over_another(tmp_path: Path) -> None:
    config = load_config("quickstart", ["problems.train.count=6", "problems.test.count=2", "train.questions_per_step=3", "train.steps=4"])
    problems = config.problems.train.load()
    rows: list[dict[str, Any]] = [{**problem_row(p), "stage": i // 3, "semantic_entropy": 0.5} for i, p in enumerate(problems)]
    export(config, tmp_path / "job", curriculum=rows, test=config.problems.test.load())
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
        arguments = overrides(load_config("quickstart", ["model.path=./mine"]), gpus, 1, 64, "vllm")
        assert f"actor_rollout_ref.model.path={tmp_path / 'mine'}" in arguments
        assert f"actor_rollout_ref.rollout.tensor_model_parallel_size={shards}" in arguments


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "job"
    done = CliRunner().invoke(app, ["export", "verl", "quickstart", "--out", str(out), "--gpus", "2"], catch_exceptions=False)
    assert done.exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["cluster.sh", "command.sh", "train.parquet", "val.parquet"]
    assert "--num-gpus=2" in (out / "cluster.sh").read_text()
    assert pq.read_table(out / "train.parquet").num_rows == 1200
