"""Training out of one process: several processes, their launchers, adapters, vLLM as TRL's sampler."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from transformers import AutoModelForCausalLM
from trl.trainer import grpo_trainer
from trl_helpers import GROUP, STRONG, logged, ours, weights

from sent_rl.config import load_config
from sent_rl.errors import UserError
from sent_rl.files import read_json_lines
from sent_rl.methods import get, names
from sent_rl.models import EMBEDDED, ModelConfig, load
from sent_rl.pipeline import prepare, train
from sent_rl.rollouts import Sampling
from sent_rl.rollouts.transformers import TransformersEngine
from sent_rl.trainers.trl import SENTConfig
from sent_rl.trainers.trl.checks import check
from sent_rl.trainers.trl.launch import command, layouts
from sent_rl.trainers.trl.run import training_arguments

TINY = [
    "problems.train.count=32", "problems.test.count=4", "score.samples=4", "train.steps=2", "train.questions_per_step=4",
    "train.generations=4", "train.report_to=[]", "train.save_steps=1",
]  # fmt: skip
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def curriculum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    prepare(load_config("quickstart", TINY), folder / "r")
    return folder / "r" / "curriculum.parquet"


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False, cwd=cwd)


def sets(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def torchrun(*script: str) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        f"--master-port={port}",
        "--master-addr=127.0.0.1",
        *script,
    ]


@pytest.mark.processes
def test_two_processes_select_and_learn_as_one(tmp_path: Path) -> None:
    """torchrun with gloo: the same treatment on both ranks and in a single process, and the same weights afterwards."""
    script = str(Path(__file__).with_name("two_ranks.py"))
    for start, name in ((torchrun(script), "two"), ([sys.executable, script], "one")):
        done = run(*start, str(tmp_path / name), json.dumps(STRONG))
        assert done.returncode == 0, done.stderr[-3000:]
    assert set(compare(tmp_path, "two")) == set(names())


SHARDS = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
SHARDS |= {"FSDP_RESHARD_AFTER_FORWARD": "true", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT", "FSDP_CPU_RAM_EFFICIENT_LOADING": "false"}


@pytest.mark.processes
def test_shards_select_and_learn_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FSDP2: policy and reference in shards of two processes."""
    script, some = str(Path(__file__).with_name("two_ranks.py")), ["sent", "kl_cov", "entropy_bonus"]
    alone = run(sys.executable, script, str(tmp_path / "one"), json.dumps(STRONG), *some)
    assert alone.returncode == 0, alone.stderr[-3000:]
    for key, value in SHARDS.items():
        monkeypatch.setitem(ENVIRONMENT, key, value)
    done = run(*torchrun(script), str(tmp_path / "shards"), json.dumps(STRONG), *some)
    assert done.returncode == 0, done.stderr[-3000:]
    assert compare(tmp_path, "shards") == some


def test_a_reference_policy_without_its_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = SENTConfig(str(tmp_path), method="sent", use_cpu=True, bf16=False)
    for key, value in {**SHARDS, "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(UserError, match="the KL would be to noise"):
        check(args, get("sent"), str(EMBEDDED), str(EMBEDDED), None, staged=False)


def compare(folder: Path, ranks: str) -> list[str]:
    """The names of the methods, once all are seen to do in two processes what they do in one."""
    one, first, second = (json.loads((folder / name).read_text()) for name in ("one-0.json", f"{ranks}-0.json", f"{ranks}-1.json"))
    for name in one:
        alone, both = one[name], (first[name], second[name])
        assert both[0]["treatments"] == both[1]["treatments"], name
        # entropies of another batch size differ in the last digits, so what they shape does too
        torch.testing.assert_close(torch.tensor(both[0]["treatments"]), torch.tensor(alone["treatments"]), rtol=0, atol=1e-5)
        mean = (torch.tensor(both[0]["losses"]) + torch.tensor(both[1]["losses"])) / 2
        assert mean.tolist() == pytest.approx(alone["losses"], abs=1e-6), name
        for key in ("weights", "grad_norm"):
            assert both[0][key] == pytest.approx(alone[key], rel=1e-4, abs=1e-5), name
    return list(one)


@pytest.mark.processes
def test_two_processes_are_ended_and_go_on(curriculum: Path, tmp_path: Path) -> None:
    """Told to end, the command ends its workers; the same command goes on at the last checkpoint, and then has nothing to do."""
    settings = [*TINY, "train.steps=30", "stage.stages=1"]
    sent = [sys.executable, "-m", "sent_rl.cli", "train", str(curriculum), "--recipe", "quickstart", *sets(settings)]
    sent += ["--processes", "2", "--out", str(tmp_path / "t")]
    with subprocess.Popen(sent, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        until = time.monotonic() + 120
        while not list(tmp_path.glob("t/checkpoint-*/sent_state.json")):
            assert first.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        first.terminate()
        first.communicate(timeout=120)
    done = len(read_json_lines(tmp_path / "t" / "metrics.jsonl"))
    assert done < 30
    time.sleep(3)
    assert len(read_json_lines(tmp_path / "t" / "metrics.jsonl")) == done  # nobody goes on unseen
    second = run(*sent)
    assert second.returncode == 0, second.stderr[-3000:]
    lines = read_json_lines(tmp_path / "t" / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 31))
    printed = [int(line.split()[1].split("/")[0]) for line in second.stdout.splitlines() if line.startswith("step ")]
    assert printed == list(range(printed[0], 31))  # each step once, not once per process
    assert 1 < printed[0] <= done + 1
    assert [line["share/low_entropy"] for line in lines] == pytest.approx([0.8] * 30, abs=0.05)
    assert min(line["tokens"] for line in lines) > 16 * 5  # of the 16 responses of both ranks
    assert not list(tmp_path.rglob("*partial*"))
    AutoModelForCausalLM.from_pretrained(tmp_path / "t" / "final")
    assert "trained already" in run(*sent).stdout


@pytest.mark.processes
def test_a_process_that_fails_ends_the_command(curriculum: Path, tmp_path: Path) -> None:
    sent = [sys.executable, "-m", "sent_rl.cli", "train", str(curriculum), "--recipe", "quickstart", *sets(TINY), "--processes", "2"]
    wrong = run(*sent, "--out", str(tmp_path / "w"), "--set", "train.trl.optim=nonsense")
    assert wrong.returncode == 2
    assert "a process of 2 ended with code" in wrong.stderr
    assert "nonsense" in wrong.stderr


def test_what_cannot_be_launched(curriculum: Path, tmp_path: Path) -> None:
    config = load_config("quickstart", TINY)
    for processes, layout, message in ((3, None, "cannot be shared out to 3 processes"), (2, "fsdp2", "the layouts are for GPUs")):
        with pytest.raises(UserError, match=message):
            train(config, curriculum, tmp_path / "t", processes, layout)
    assert not (tmp_path / "t").exists()


@pytest.mark.processes
def test_the_module_under_a_launcher_needs_no_more_than_a_recipe(tmp_path: Path) -> None:
    """The first process scores and stages while the other waits."""
    recipe = tmp_path / "mine.yaml"
    tree: dict[str, Any] = yaml.safe_load((resources.files("sent_rl") / "recipes" / "quickstart.yaml").read_text())
    recipe.write_text(yaml.safe_dump({**tree, "name": "mine"}))
    done = run(*torchrun("-m", "sent_rl.train", str(recipe), *sets(TINY)), cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "runs" / "mine" / "training" / "final" / "model.safetensors").is_file()
    assert done.stdout.count("scored 32 problems") == 1


def test_the_layouts_are_accelerates_and_say_what_trls_say() -> None:
    theirs = Path(trl.__file__).parent / "accelerate_configs"
    for name in layouts():
        path = Path(str(resources.files("sent_rl"))) / "recipes" / "accelerate" / f"{name}.yaml"
        load_config_from_file(str(path))
        own, known = (yaml.safe_load(p.read_text()) for p in (path, theirs / f"{name}.yaml"))
        assert own["distributed_type"] == known["distributed_type"]
        for section in ("fsdp_config", "deepspeed_config"):
            for key, value in own.get(section, {}).items():
                ours_alone = (name, key) == ("fsdp2", "fsdp_cpu_ram_efficient_loading")
                assert (known[section][key] == value) is not ours_alone, f"{name}: {key}"
    assert layouts() == ["fsdp2", "multi_gpu", "zero2", "zero3"]
    assert command(4, "zero3")[2:4] == ["accelerate.commands.launch", "--config_file"]
    for wrong, message in (("fsdp", "did you mean 'fsdp2'"), ("mine.yaml", "no such accelerate configuration")):
        with pytest.raises(UserError, match=message):
            command(2, wrong)


def test_shards_without_an_accelerator_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate would fall back to whole models without a word, and leave the reference policy without its weights."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="FSDP needs GPUs"):
        training_arguments(load_config("quickstart"), tmp_path)


def test_processes_that_do_not_find_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes were started, but they do not form a group"):
        training_arguments(load_config("quickstart", ["train.trl.use_cpu=false", "train.trl.bf16=false"]), tmp_path)


def test_an_adapter_ends_in_a_whole_model(curriculum: Path, tmp_path: Path) -> None:
    lora = "train.lora={r: 4, lora_alpha: 64, target_modules: [q_proj, v_proj]}"
    config = load_config("quickstart", [*TINY, lora, "train.learning_rate=0.01"])
    final = train(config, curriculum, tmp_path / "t")
    merged, base = load(ModelConfig(), str(final))[0], load(ModelConfig())[0]
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(base, str(final / "adapter"))
    ids = torch.arange(3, 15)[None]
    torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, rtol=1e-4, atol=1e-4)
    with adapted.disable_adapter():
        assert (adapted(ids).logits - merged(ids).logits).abs().max() > 1e-3
    with pytest.raises(UserError, match=r"train.lora: peft does not accept this"):
        train(load_config("quickstart", [*TINY, "train.lora={rank: 4}"]), curriculum, tmp_path / "w")


def test_a_uniform_kl_is_trls_beta(tmp_path: Path) -> None:
    assert training_arguments(load_config("quickstart", ["train.kl_coef=0.01"]), tmp_path).beta == 0.01
    with pytest.raises(UserError, match=r"train.trl.beta: has a key of its own"):
        training_arguments(load_config("quickstart", ["train.trl.beta=0.01"]), tmp_path)


class FakeVLLM:
    """Stands where TRL's vLLM client stands: samples from the policy, and says log-probs that are a little off, as vLLM's are."""

    asked: dict[str, Any]

    def __init__(self, model: Any, processing_class: Any, **options: Any) -> None:
        self.model, self.tokenizer = model, processing_class
        type(self).asked = options
        self.syncs = 0

    def sync_weights(self) -> None:
        self.syncs += 1

    def generate(self, prompts: list[list[int]], num_generations: int, **_: Any) -> Any:
        engine, texts = TransformersEngine(self.model, self.tokenizer), [self.tokenizer.decode(p) for p in prompts]
        drawn = engine.sample(texts, 1, Sampling(max_tokens=12), seed=len(prompts) + self.syncs)
        self.model.train()
        ids = [self.tokenizer(r.text).input_ids + [1] * r.finished for (r,) in drawn]
        sequences = [torch.tensor([p + i]) for p, i in zip(prompts, ids, strict=True)]
        with torch.no_grad():
            logps = [
                torch.log_softmax(self.model(s).logits[0, -len(i) - 1 : -1], -1).gather(-1, torch.tensor(i)[:, None])
                for s, i in zip(sequences, ids, strict=True)
            ]
        return prompts, ids, [(values - 0.01).tolist() for values in logps], None


@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_vllm_as_trls_sampler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """TRL's own options reach vLLM, the treatment takes its statistics from the pass that TRL makes, and TRL's correction stays."""
    monkeypatch.setattr(grpo_trainer, "VLLMGeneration", FakeVLLM)
    monkeypatch.setattr(FakeVLLM, "vllm_client", NoServer(), raising=False)
    options = {"use_vllm": True, "vllm_mode": mode, "vllm_gpu_memory_utilization": 0.4}
    trainer = ours(tmp_path, method={"name": "sent", **STRONG["sent"]}, per_device_train_batch_size=2 * GROUP, **options)
    before, fixed = weights(trainer), trainer.passes
    trainer.train()
    assert FakeVLLM.asked["mode"] == mode
    assert FakeVLLM.asked["gpu_memory_utilization"] == 0.4
    assert trainer.vllm_generation.syncs == 3  # before every rollout
    assert logged(trainer, "sampling/importance_sampling_ratio/mean")[0] > 1  # exp of 0.01 a token
    assert not torch.equal(before, weights(trainer))
    assert logged(trainer, "share/low_entropy") == pytest.approx([0.8] * 3, abs=0.05)
    assert trainer.passes - fixed == 3 * 2  # old log-probs and loss: none besides TRL's own


class NoServer:
    def get_server_info(self) -> dict[str, Any]:
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}


def test_recipes_pass_vllm_through(tmp_path: Path) -> None:
    arguments = training_arguments(load_config("quickstart", ["train.trl={use_vllm: true, vllm_mode: colocate}"]), tmp_path)
    assert (arguments.use_vllm, arguments.vllm_mode) == (True, "colocate")
