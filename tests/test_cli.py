"""The command line: the demo on a handful of steps as it is installed, and one clear line for every mistake."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import Sent

from sent_rl import __version__
from sent_rl.config import load_config, recipe_names
from sent_rl.files import read_facts, read_table
from sent_rl.models import EMBEDDED

SMALL = [
    "problems.train.count=48",
    "problems.test.count=6",
    "score.samples=4",
    "score.sampling.batch_size=64",
    "train.steps=4",
    "train.questions_per_step=4",
    "train.generations=4",
    "train.save_steps=2",
    "evaluate.samples=4",
    "evaluate.k=[1,4]",
]


def small(*more: str) -> list[str]:
    return [part for setting in (*SMALL, *more) for part in ("--set", setting)]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small run of the quickstart through the installed command: its directory and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    command = shutil.which("sent", path=str(Path(sys.executable).parent))
    assert command is not None, "the package is not installed"
    done = subprocess.run(
        [command, "run", "quickstart", "--out", "r", *small()],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "r", done.stdout


def test_the_demo_prints_what_it_did(demo: tuple[Path, str]) -> None:
    _, out = demo
    steps = [line for line in out.splitlines() if line.startswith("step ")]
    assert len(steps) == 4
    for word in ("stage", "reward", "entropy", "low 8", "high-cov", "kl", "tok/s", "s/step", " left"):
        assert word in steps[0]
    assert [next(s for s in ("stage 0", "stage 1") if s in steps[i]) for i in (0, -1)] == ["stage 0", "stage 1"]
    tail = out.splitlines()[-9:]
    assert any("base" in line and "trained" in line for line in tail)
    for metric in ("avg@4 ", "pass@4 "):
        (row,) = [line for line in tail if line.startswith(metric)]
        assert row.count("+-") == 3
    assert "entropy:" in tail[-2]
    assert tail[-1].startswith("report: r/report.html")


def test_the_run_directory(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    run = yaml.safe_load((folder / "run.yaml").read_text())
    assert run["train"]["steps"] == 4
    assert run["method"]["name"] == "sent"
    assert {"torch", "trl"} <= set(run["versions"])
    scores, curriculum = read_table(folder / "scores.parquet"), read_table(folder / "curriculum.parquet")
    assert len(scores) == len(curriculum) == 48
    for row in scores:
        assert 0 <= row["semantic_entropy"] <= math.log(4) + 1e-9
        assert len(row["answers"]) == 4
    assert [row["semantic_entropy"] for row in curriculum] == sorted(row["semantic_entropy"] for row in scores)
    assert [row["stage"] for row in curriculum] == [0] * 24 + [1] * 24
    assert 0 <= read_facts(folder / "curriculum.parquet")["tie_rate"] <= 1
    metrics = [json.loads(line) for line in (folder / "training" / "metrics.jsonl").read_text().splitlines()]
    assert [(m["step"], m["stage"]) for m in metrics] == [(1, 0), (2, 0), (3, 1), (4, 1)]
    for m in metrics:
        assert list(m)[:6] == ["step", "stage", "reward", "entropy", "kl", "tokens"]
        assert m["share/low_entropy"] == pytest.approx(0.8, abs=0.01)
    found = json.loads((folder / "evaluation" / "results.json").read_text())
    assert set(found["models"]) == {"base", "trained"}
    assert set(found["models"]["base"]["pass@4"]) == {"value", "stderr"}
    assert (found["n"], found["problems"]) == (4, 6)
    samples = read_table(folder / "evaluation" / "samples.parquet")
    assert len(samples) == 2 * 6 * 4
    right = [row["correct"] for row in samples if row["model"] == "base"]
    assert found["models"]["base"]["avg@1"]["value"] == pytest.approx(sum(right) / len(right))
    assert not list(folder.rglob("*partial*"))
    assert not list(folder.rglob("*.parts"))


def test_the_report_needs_nothing_else(demo: tuple[Path, str]) -> None:
    page = (demo[0] / "report.html").read_text(encoding="utf-8")
    for address in ("<script", "<link", 'src="', "@import", "url(http"):
        assert address not in page
    assert page.count("<svg") == 3
    for heading in ("What came out", "What the entropy did", "The curriculum", "Read some"):
        assert heading in page


def test_a_finished_run_is_not_done_again(demo: tuple[Path, str], sent: Sent) -> None:
    folder, _ = demo
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != "report.html"}
    written = (folder / "run.yaml").read_text()
    (folder / "run.yaml").write_text(re.sub(r"engine:\n(  .*\n)*", "", written))  # as an earlier version left it
    code, out, _ = sent("run", "quickstart", "--out", str(folder), *small("hardware.gpu=l4"))
    (folder / "run.yaml").write_text(written)
    before[folder / "run.yaml"] = (folder / "run.yaml").stat().st_mtime_ns
    assert code == 0
    assert not [line for line in out.splitlines() if line.startswith("step ")]
    for step in ("scored", "staged", "trained", "evaluated"):
        assert f"{step} already: " in out
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != "report.html"} == before


def test_a_directory_with_another_run_is_refused(demo: tuple[Path, str], sent: Sent) -> None:
    code, _, err = sent("run", "quickstart", "--out", str(demo[0]), *small("seed=5"))
    assert (code, err.count("\n")) == (2, 1)
    assert "holds another run, whose seed is 0 and not 5" in err


def test_every_step_is_a_command(demo: tuple[Path, str], sent: Sent, tmp_path: Path) -> None:
    """score, stage, train and evaluate one by one give what `sent run` gave."""
    recipe = ["--recipe", "quickstart", *small()]
    assert sent("score", "--out", "scores.parquet", *recipe)[0] == 0
    assert pq.read_table("scores.parquet").equals(pq.read_table(demo[0] / "scores.parquet"))
    code, out, _ = sent("stage", "scores.parquet", *recipe)
    assert code == 0
    assert "tied" in out
    assert pq.read_table("curriculum.parquet").equals(pq.read_table(demo[0] / "curriculum.parquet"))
    assert sent("train", "curriculum.parquet", "--out", "t", *recipe)[0] == 0
    same = [(folder / "final" / "model.safetensors").read_bytes() for folder in (tmp_path / "t", demo[0] / "training")]
    assert same[0] == same[1]
    code, out, _ = sent("evaluate", "embedded", "t/final", "--out", "e", *recipe)
    assert code == 0
    assert "t/final - embedded" in out
    ours, theirs = (json.loads((folder / "results.json").read_text()) for folder in (tmp_path / "e", demo[0] / "evaluation"))
    assert list(ours["models"].values()) == list(theirs["models"].values())
    assert "exists already" in sent("stage", "scores.parquet", *recipe)[2]


def test_a_cut_training_goes_on(demo: tuple[Path, str], sent: Sent, tmp_path: Path) -> None:
    """The last checkpoint is half written; the run resumes at the one before and ends where the uncut one did."""
    folder = tmp_path / "r"
    shutil.copytree(demo[0], folder)
    for gone in ("evaluation", "training/final"):
        shutil.rmtree(folder / gone)
    (folder / "training" / "checkpoint-4" / "trainer_state.json").unlink()
    code, out, err = sent("run", "quickstart", "--out", str(folder), *small())
    assert code == 0, err
    assert [line.split()[1] for line in out.splitlines() if line.startswith("step ")] == ["3/4", "4/4"]
    assert f"training goes on after step 2: {folder / 'training' / 'checkpoint-2'}" in out
    assert (folder / "training/final/model.safetensors").read_bytes() == (demo[0] / "training/final/model.safetensors").read_bytes()
    kept = [json.loads(line)["reward"] for line in (folder / "training" / "metrics.jsonl").read_text().splitlines()]
    assert kept == [json.loads(line)["reward"] for line in (demo[0] / "training" / "metrics.jsonl").read_text().splitlines()]


def test_a_full_disk_while_training(sent: Sent, tmp_path: Path) -> None:
    """A file system too small for the checkpoints, where the machine lets us make one; with more room the run goes on."""
    small_disk = tmp_path / "disk"
    small_disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(small_disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small file system")
    try:
        code, _, err = sent("run", "quickstart", "--out", str(small_disk / "r"), *small())
        assert (code, err.count("\n")) == (2, 1)
        assert "no space left on the device" in err
        assert not list(small_disk.rglob("*partial*")) + list(small_disk.rglob("checkpoint-*"))
        subprocess.run(["mount", "-o", "remount,size=90m", str(small_disk)], check=True)
        assert sent("run", "quickstart", "--out", str(small_disk / "r"), *small())[0] == 0
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)


def lines(*rows: Any) -> str:
    Path("data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return "problems.train=data.jsonl"


def broken_model() -> str:
    shutil.copytree(EMBEDDED, "broken")
    weights = Path("broken/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    return "model.path=broken"


MISTAKES: dict[str, tuple[Callable[[], list[str]], str]] = {
    "missing model": (lambda: ["model.path=./nowhere"], "./nowhere: no such model folder"),
    "model folder without a model": (lambda: [f"model.path={Path.cwd()}"], "no config.json"),
    "no prompt column": (lambda: [lines({"q": "1", "answer": "1"})], "data.jsonl: row 1 has no column 'prompt'"),
    "no answer column": (lambda: [lines({"prompt": "1", "a": "1"})], "data.jsonl: row 1 has no column 'answer'"),
    "empty data set": (lambda: [lines()], "data.jsonl: no problems in it"),
    "duplicate ids": (lambda: [lines(*[{"id": 1, "prompt": str(i), "answer": "1"} for i in range(2)])], "row 2 has the id '1' of row 1"),
    "missing data set": (lambda: ["problems.train=nope.jsonl"], "nope.jsonl: no such file"),
    "nan learning rate": (lambda: ["train.learning_rate=nan"], "train.learning_rate"),
    "more stages than problems": (lambda: ["stage.stages=100"], "100 stages, but there are only 48 problems"),
    "step larger than a stage": (lambda: ["train.questions_per_step=30"], "a stage has 24 problems, fewer than the 30 of one batch"),
    "unknown method": (lambda: ["method=snet"], "unknown method 'snet'; did you mean 'sent'?"),
    "unknown option": (lambda: ["method.beta_hgih=1"], "did you mean 'beta_high'?"),
    "typo in a key": (lambda: ["train.lerning_rate=1"], "unknown key 'train.lerning_rate'; did you mean 'learning_rate'?"),
    "typo below a source": (lambda: ["problems.test.levls=[1]"], "unknown key 'problems.test.levls'; did you mean 'levels'?"),
    "key below a value": (lambda: ["seed.x=1"], "'seed' holds 0, which has no keys below it"),
    "no equals sign": (lambda: ["train.steps"], "write key=value"),
    "unknown key of TRL": (lambda: ["train.trl.epsilonn=1"], "did you mean 'epsilon'?"),
    "key of TRL that is ours": (lambda: ["train.trl.learning_rate=1"], "has a key of its own"),
    "value that TRL refuses": (lambda: ["train.trl.auto_find_batch_size=true"], "TRL does not accept this"),
    "indivisible micro-batch": (lambda: ["train.micro_batch=7"], "micro_batch 7 does not divide"),
    "k above samples": (lambda: ["evaluate.k=[8]"], "every k must lie between 1 and samples (4)"),
    "stop of two tokens": (lambda: ["model.stop=['12']"], "'12' is 2 tokens"),
    "template without a place": (lambda: ["prompting.template=hello"], "must hold {question} exactly once"),
    "fewer steps than stages": (lambda: ["train.steps=1"], "1 rounds of batches are fewer than the 2 stages"),
    "no chat template": (lambda: ["prompting.chat=true"], "has no chat template"),
    "method that is no name": (lambda: ["method=3"], "a name, or a mapping"),
    "method without a name": (lambda: ["method.name="], "missing or no text"),
    "seed too large": (lambda: ["seed=4294967296"], "seed"),
    "broken weights": (lambda: [broken_model()], "cannot be loaded"),
    "level that is not there": (lambda: ["problems.train.levels=[9]"], "levels go from 0 to 4"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_line_and_leave_nothing(sent: Sent, mistake: str, tmp_path: Path) -> None:
    make, message = MISTAKES[mistake]
    settings = make()
    kept = set(tmp_path.rglob("*"))
    code, _, err = sent("run", "quickstart", "--out", "r", *small(*settings))
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert set(tmp_path.rglob("*")) == kept


def test_mistakes_on_the_command_line(sent: Sent, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.gguf").touch()
    for arguments, message in (
        (["run", "quikstart"], "unknown recipe 'quikstart'; did you mean 'quickstart'?"),
        (["run", "nope.yaml"], "nope.yaml: no such recipe file"),
        (["stage", "nope.parquet"], "nope.parquet: no such file"),
        (["report", "."], "nothing to report"),
        (["score", "arithmetic", "--out", "scores.csv"], "scores.csv: what is written here is .parquet; name it scores.parquet"),
        (["stage", "scores.parquet", "--out", "c.jsonl"], "name it c.parquet"),
        (["convert", "arithmetic", "p.csv"], "p.csv: what is written here is .jsonl or .parquet; name it p.jsonl"),
        (["evaluate", "embedded", "--out", "e", "--n", "4", "--k", "1,8"], "every k must lie between 1 and samples (4), not [1, 8]"),
        (["evaluate", "data/modle", "--out", "e"], "data/modle: no such model folder"),
        (["evaluate", "data/a.gguf", "--out", "e"], "data/a.gguf: is a file; a model is the folder"),
        (["evaluate", "nobody/nothing", "--out", "e"], "neither a folder here nor a model that could be loaded from the Hub"),
        (["methods", "snt"], "did you mean 'sent'?"),
        (["evaluate", "./nope", "--out", "e"], "no such model folder"),
        (["train", "nope.parquet", "--out", "t"], "no such file"),
    ):
        code, _, err = sent(*arguments)
        assert (code, err.count("\n")) == (2, 1), err
        assert message in err
    (tmp_path / "bad.yaml").write_text("train: [1\n")
    assert "not YAML" in sent("run", "bad.yaml")[2]
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert "a recipe is a mapping" in sent("run", "list.yaml")[2]


def test_what_a_user_calls_things_is_not_interpreted(sent: Sent, tmp_path: Path) -> None:
    """Neither YAML nor markup: names of files and options are taken as they are."""
    data = tmp_path / "[v2] data #1: a.jsonl"
    rows = [{"id": f"{i} [/INST] \u2028", "prompt": f"1+{i}", "answer": "2"} for i in range(3)]
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert sent("score", data.name, "--out", "[s].parquet", "--samples", "2", "--set", "score.sampling.max_tokens=4")[0] == 0
    assert len(read_table(tmp_path / "[s].parquet")) == 3
    shutil.copytree(EMBEDDED, "2024-05-01")
    code, out, err = sent(
        "evaluate", "2024-05-01", str(tmp_path / "2024-05-01"), "--problems", data.name, "--out", "e", "--n", "2", "--k", "1,2"
    )
    assert code == 0, err
    assert "2024-05-01" in out
    assert "whole numbers" in sent("evaluate", "embedded", "--out", "f", "--k", "1;2")[2]


def test_evaluation_stays_inside_its_folder(sent: Sent, tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, "m")
    for name in ("m.parts", "scores.parquet.parts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine")
    small_one = ["--n", "2", "--k", "1", "--set", "problems.test.count=2"]
    assert sent("evaluate", str(tmp_path / "m"), "--out", "e", *small_one)[0] == 0
    assert "was not made by sent" in sent("score", "arithmetic", "--set", "problems.train.count=2")[2]
    assert all((tmp_path / name / "notes.txt").read_text() == "mine" for name in ("m.parts", "scores.parquet.parts"))
    assert all(row["id"].startswith("arithmetic-test-") for row in read_table(tmp_path / "e" / "problems.parquet"))


def test_held_out_problems_stay_held_out() -> None:
    for settings in ([], ["problems.test.count=9"], ["problems.test=arithmetic"], ["problems.test={levels: [3]}"]):
        assert load_config(None, settings).problems.test.split == "test"  # type: ignore[union-attr]
    assert load_config(None, ["problems.test.split=train"]).problems.test.split == "train"  # type: ignore[union-attr]


def test_a_mistake_does_not_claim_a_folder(demo: tuple[Path, str], sent: Sent, tmp_path: Path) -> None:
    curriculum = str(demo[0] / "curriculum.parquet")
    recipe = ["--recipe", "quickstart", *small()]
    for wrong in (["--model", "./nowhere"], ["--set", "train.report_to=[nowhere]"], ["--set", "train.questions_per_step=40"]):
        code, _, err = sent("train", curriculum, "--out", "t", *recipe, *wrong)
        assert (code, err.count("\n")) == (2, 1), err
        assert not (tmp_path / "t").exists()
    code, _, err = sent("evaluate", "embedded", "nobody/nothing", "--out", "e", *recipe)
    assert (code, err.count("\n")) == (2, 1), err
    assert not (tmp_path / "e").exists()


def test_a_line_of_metrics_that_was_cut_short(demo: tuple[Path, str], sent: Sent, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    shutil.copytree(demo[0], folder)
    shutil.rmtree(folder / "training" / "final")
    metrics = folder / "training" / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-30])
    shutil.rmtree(folder / "training" / "checkpoint-4")
    assert sent("run", "quickstart", "--out", str(folder), *small())[0] == 0
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_metrics_at_every_update(sent: Sent, demo: tuple[Path, str], tmp_path: Path) -> None:
    """Two updates a rollout: the second has the rollout's reward and a KL to the old policy."""
    more = ["--set", "train.updates_per_rollout=2", "--set", "train.steps=4", "--method", "grpo"]
    assert sent("train", str(demo[0] / "curriculum.parquet"), "--out", "t", "--recipe", "quickstart", *small(), *more)[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "t" / "metrics.jsonl").read_text().splitlines()]
    assert [m["step"] for m in lines] == [1, 2, 3, 4]
    assert lines[0]["reward"] == lines[1]["reward"]
    assert lines[0]["kl_old"] == pytest.approx(0, abs=1e-9)
    assert lines[1]["kl_old"] > 0
    assert {"covariance/mean", "covariance/top", "frac_reward_zero_std", "clip_ratio/region_mean"} <= set(lines[0])


def test_interrupting_says_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sent_rl.cli", "score", "arithmetic", "--out", "s.parquet", "--set", "problems.train.count=1500"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "score: 0 of 1500\n"  # a pipe is told as soon as a terminal is
        assert process.poll() is None
        while not list(tmp_path.glob("s.parquet.parts/*.parquet")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on from the last finished part" in err
    assert "Traceback" not in err


def test_listings(sent: Sent) -> None:
    assert sent("--version")[1].strip() == __version__
    assert "sent " in sent("methods")[1]
    assert "beta_high = 0.1" in sent("methods", "sent")[1]
    assert "quickstart" in sent("recipes")[1]
    code, out, _ = sent("doctor")
    assert code == 0
    assert "####" in out


@pytest.mark.parametrize("recipe", recipe_names())
def test_recipes_are_valid_and_can_be_shown(sent: Sent, recipe: str) -> None:
    assert load_config(recipe).name == recipe
    code, out, _ = sent("run", recipe, "--dry-run")
    assert code == 0
    assert yaml.safe_load(out)["name"] == recipe
