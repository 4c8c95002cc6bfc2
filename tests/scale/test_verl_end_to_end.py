"""What ``sent export verl`` writes, run for real: main_ppo with the plug-in, Ray, FSDP and TransferQueue, on a CPU."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from run_verl import BATCH, Run, write_job

from sent_rl.curriculum import StageSampler
from sent_rl.problems import Problem

pytestmark = pytest.mark.timeout(600)


def wait_for(run: Run, process: subprocess.Popen[bytes], reached: Callable[[], bool], seconds: float = 300) -> None:
    """Until ``reached``, or the process ends."""
    until = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None or reached(), f"ended with {process.poll()}:\n{tail(run)}"
        assert time.monotonic() < until, f"not reached in {seconds} s:\n{tail(run)}"
        time.sleep(0.5)


def tail(run: Run) -> str:
    lines = run.log_path.read_text(errors="replace").splitlines()
    return "\n".join(line for line in lines if "engine is not available" not in line)[-4000:]


def kill(process: subprocess.Popen[bytes]) -> None:
    """The driver and everything that Ray started for it, without a chance to say goodbye."""
    for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait(timeout=30)


def finished(run: Run) -> None:
    process = run.start()
    try:
        assert process.wait(timeout=400) == 0, tail(run)
    finally:
        if process.poll() is None:
            kill(process)


def expected_questions(problems: list[Problem], stages: int = 2) -> list[list[str]]:
    """The questions of every step, from the sampler alone."""
    sampler = StageSampler([i * stages // len(problems) for i in range(len(problems))], BATCH, batches=4)
    order = sampler.order()
    return [sorted(problems[i].prompt for i in order[step * BATCH : (step + 1) * BATCH]) for step in range(4)]


def test_a_run_that_is_killed_goes_on_in_its_stage(tmp_path: Path) -> None:
    problems = write_job(tmp_path)
    cut = Run(tmp_path, "cut")
    process = cut.start()
    latest = tmp_path / "checkpoints" / "latest_checkpointed_iteration.txt"

    def step_two_is_done() -> bool:
        """verl logs a step, and writes down its rollouts, after it saved it."""
        saved = latest.is_file() and latest.read_text().strip() == "2"
        return saved and len(cut.steps()) >= 2 and (cut.rollouts_path / "2.jsonl").is_file()

    try:
        wait_for(cut, process, step_two_is_done)
    finally:
        kill(process)
    resumed = Run(tmp_path, "resumed")
    finished(resumed)

    assert "verl plug-in at work, method Sent(name='sent'" in cut.log_path.read_text()
    assert [(m["step"], m["sent/stage"]) for m in cut.steps()[:2]] == [(1, 0), (2, 0)]
    assert [(m["step"], m["sent/stage"]) for m in resumed.steps()] == [(3, 1), (4, 1)]
    questions = [cut.questions(1), cut.questions(2), resumed.questions(3), resumed.questions(4)]
    assert questions == expected_questions(problems)
    first = cut.steps()[0]
    assert first["sent/share/low_entropy"] == pytest.approx(0.8, abs=0.01)
    assert abs(first["actor/sent/kl"]) < 1e-6  # the policy still is the reference
    assert resumed.steps()[0]["actor/sent/kl"] > 1e-6
    assert max(m["critic/score/mean"] for m in cut.steps() + resumed.steps()) > 0.1  # our grader finds right answers
    assert json.loads((tmp_path / "checkpoints" / "global_step_2" / "sent_state.json").read_text()) == {"method": {}}


def test_two_workers_and_a_curriculum_that_follows_the_policy(tmp_path: Path) -> None:
    write_job(tmp_path)
    run = Run(tmp_path, "two", workers=2, overrides=["actor_rollout_ref.actor.policy_loss.method.name=sent_online"])
    finished(run)
    steps = run.steps()
    assert [(m["step"], m["sent/stage"]) for m in steps] == [(1, 0), (2, 0), (3, 1), (4, 1)]
    assert all(0 <= m["sent/semantic_entropy"] <= 1.4 for m in steps)  # log of the 4 answers of a group
    assert len({question for m in steps for question in run.questions(m["step"])}) >= 3 * BATCH


def test_a_method_without_clip_that_is_anchored_at_the_old_policy(tmp_path: Path) -> None:
    write_job(tmp_path, method={"name": "kl_cov", "top_fraction": 0.1})
    run = Run(tmp_path, "kl_cov", overrides=["trainer.total_training_steps=2"])
    run.overrides += ["actor_rollout_ref.actor.ppo_mini_batch_size=2", "actor_rollout_ref.actor.optim.lr=1e-3"]
    finished(run)
    steps = run.steps()
    # in a step whose groups are all right or all wrong, every covariance is 0, and ties are all taken
    assert min(m["sent/share/high_covariance"] for m in steps) == pytest.approx(0.1, abs=0.01)
    assert max(m["actor/sent/kl_old"] for m in steps) > 0  # at the second update of a step
    assert all(m["actor/pg_clipfrac"] == 0 and "actor/sent/kl" not in m for m in steps)  # no clip, and no reference policy is kept


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algorithm.rollout_correction.bypass_mode=True", "bypass_mode: without the pass for the old log-probs"),
        ("data.dataloader_num_workers=2", "data.dataloader_num_workers: workers read ahead"),
    ],
)
def test_what_cannot_work_is_said_before_training(override: str, message: str, tmp_path: Path) -> None:
    write_job(tmp_path)
    run = Run(tmp_path, "refused", overrides=[override])
    process = run.start()
    assert process.wait(timeout=200) != 0
    assert message in run.log_path.read_text(errors="replace")
    assert not (tmp_path / "checkpoints").exists()
