"""What a recipe asks of the layouts: offloading, and a reference that a stage can replace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from sent_rl import pipeline
from sent_rl.config import load_config
from sent_rl.errors import UserError
from sent_rl.trainers.trl.layouts import check_layout, check_offloading, configuration, layouts

OFFLOAD = ["train.offload=true"]


@pytest.mark.parametrize(
    ("layout", "section", "keys"),
    [
        ("fsdp2", "fsdp_config", {"fsdp_offload_params": True}),
        (
            "zero3",
            "deepspeed_config",
            {"offload_param_device": "cpu", "offload_optimizer_device": "cpu"},
        ),
    ],
)
def test_a_layout_is_told_to_offload(tmp_path: Path, layout: str, section: str, keys: dict[str, object]) -> None:
    check_layout(load_config("quickstart", OFFLOAD).train, layout)
    shipped = configuration(layout, False, tmp_path)
    assert not list(tmp_path.iterdir())
    written = configuration(layout, True, tmp_path)
    load_config_from_file(str(written))
    before, after = (yaml.safe_load(path.read_text()) for path in (shipped, written))
    assert all(before[section][key] != value for key, value in keys.items())
    assert after == {**before, section: {**before[section], **keys}}


def test_a_configuration_of_ones_own_says_it_itself(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("distributed_type: FSDP\nfsdp_config: {fsdp_offload_params: true}\n")
    train = load_config("quickstart", OFFLOAD).train
    check_layout(train, str(own))
    assert configuration(str(own), True, tmp_path) == own
    own.write_text("distributed_type: FSDP\nfsdp_config: {fsdp_offload_params: false}\n")
    with pytest.raises(UserError, match=r"train.offload: .*own.yaml does not say so"):
        check_layout(train, str(own))
    own.write_text("- 1\n")
    with pytest.raises(UserError, match="not a configuration of accelerate's"):
        check_layout(train, str(own))


@pytest.mark.parametrize(
    ("settings", "layout", "message"),
    [
        (
            OFFLOAD,
            None,
            "train.offload: the state is offloaded in shards: --processes N --layout fsdp2 or zero3",
        ),
        (OFFLOAD, "multi_gpu", "train.offload: the state is offloaded in shards"),
        (OFFLOAD, "zero2", "train.offload: the state is offloaded in shards"),
        (
            ["train.stage_reset=[reference]"],
            "fsdp2",
            "train.stage_reset: 'reference' needs the whole model",
        ),
        ([], "fsdp", "did you mean 'fsdp2'"),
    ],
)
def test_what_a_layout_cannot_do_is_refused_before_anything_is_sampled(
    tmp_path: Path, settings: list[str], layout: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        pipeline.run(load_config("quickstart", settings), tmp_path / "r", 2, layout)
    assert not list(tmp_path.iterdir())


def test_every_other_layout_is_let_through() -> None:
    for layout in (None, *layouts()):
        check_layout(load_config("quickstart").train, layout)
    check_layout(load_config("quickstart", ["train.stage_reset=[reference]"]).train, "multi_gpu")


def test_a_process_that_was_not_told_to_offload(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"train.offload: the launcher was not told so"):
        check_offloading()
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "true")
    check_offloading()


SHARDS = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}


@pytest.mark.processes
def test_offloaded_shards_learn_the_same(tmp_path: Path) -> None:
    """FSDP2 in two processes with and without its offloading policy, whose pinned memory needs a GPU and is off here."""
    script = tmp_path / "offloaded.py"
    tests = Path(__file__).parent
    script.write_text(
        f"import sys; sys.path.insert(0, {str(tests)!r})\n"
        "from torch.distributed.fsdp import CPUOffloadPolicy\n"
        "CPUOffloadPolicy.__init__.__defaults__ = (False,)\n"
        "import two_ranks\n"
        "two_ranks.main()\n"
    )
    environment = {**os.environ, **SHARDS, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    found = []
    for offload in ("false", "true"):
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            str(script),
        ]
        out = tmp_path / offload
        told = {**environment, "FSDP_OFFLOAD_PARAMS": offload}
        done = subprocess.run(
            [*command, str(out), "{}", "sent"],
            env=told,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads((tmp_path / f"{offload}-0.json").read_text())["sent"])
    plain, offloaded = found
    assert offloaded["losses"] == pytest.approx(plain["losses"], abs=1e-6)
    assert offloaded["weights"] == pytest.approx(plain["weights"], abs=1e-6)
