"""Lengths against the models' positions: what is refused, what is lowered, and where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sent_rl import pipeline
from sent_rl.config import load_config
from sent_rl.context import STEPS, Step, check_prompts, fitted, positions
from sent_rl.errors import UserError
from sent_rl.models import EMBEDDED
from sent_rl.pricing import SHAPES


def model_folder(folder: Path, **config: object) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 32768}}, 32768),
        (
            {"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", "factor": 4.0}},
            131072,
        ),
        (
            {
                "max_position_embeddings": 32768,
                "rope_parameters": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 4096,
                },
            },
            32768,
        ),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
            },
            131072,
        ),
        ({"model_type": "mamba"}, None),
    ],
)
def test_positions_of_a_folder(tmp_path: Path, config: dict[str, object], expected: int | None) -> None:
    assert positions(model_folder(tmp_path / "m", **config)) == expected


def test_positions_of_other_models() -> None:
    assert positions("embedded") == json.loads((EMBEDDED / "config.json").read_text())["max_position_embeddings"]
    assert positions("nobody/has-this") is None
    assert positions("a/b/c") is None
    assert all(positions(name) is not None for name in SHAPES)  # the recipes' models


@pytest.mark.parametrize("key", ["score.sampling.max_tokens", "train.max_tokens", "evaluate.sampling.max_tokens"])
def test_a_length_beyond_the_model_is_refused(key: str) -> None:
    with pytest.raises(
        UserError,
        match=rf"{key}: 8000 tokens and a prompt .* 4096 positions of 'Qwen/Qwen2.5-Math-7B'; set it to 2048",
    ):
        fitted(load_config("paper-7b", [f"{key}=8000"]))
    fitted(load_config("paper-1.5b", [f"{key}=8000"]))  # 131,072 positions


def test_a_length_that_nobody_gave_is_lowered() -> None:
    config = load_config(None)
    assert config.score.sampling.max_tokens == 2048
    lowered = fitted(config)
    assert (
        lowered.score.sampling.max_tokens,
        lowered.train.max_tokens,
        lowered.evaluate.sampling.max_tokens,
    ) == (64, 64, 64)
    assert fitted(lowered) == lowered
    assert fitted(config, "evaluate", models=["Qwen/Qwen2.5-Math-7B"]) == config
    assert fitted(config, "evaluate", models=["nobody/has-this"]) == config
    config = load_config("paper-7b")
    assert fitted(config) == config


def test_the_engine_may_decide() -> None:
    long = ["model.path=Qwen/Qwen2.5-Math-7B", "score.sampling.max_tokens=8000"]
    fitted(load_config(None, [*long, "engine.kind=openai"]), "score")
    fitted(
        load_config(None, [*long, "engine.kind=vllm", "engine.vllm={max_model_len: 16384}"]),
        "score",
    )
    with pytest.raises(UserError, match="8000 tokens and a prompt do not fit into the 6000 positions"):
        fitted(
            load_config(None, [*long, "engine.kind=vllm", "engine.vllm={max_model_len: 6000}"]),
            "score",
        )


@pytest.mark.parametrize("step", STEPS)
def test_a_prompt_that_leaves_too_little_room_is_refused(step: Step) -> None:
    key = f"{step}.max_tokens" if step == "train" else f"{step}.sampling.max_tokens"
    prompts = ["1+2\n", "1+2+3+4+5\n", "1+2+3\n"]  # 4, 10 and 6 tokens
    check_prompts(load_config(None, [f"{key}=118"]), step, prompts)
    message = rf"{key}: 121 tokens and the longest prompt, 10 tokens \(too long: 1 of 3\), .* 128 positions .* set it to 118 or less"
    with pytest.raises(UserError, match=message):
        check_prompts(load_config(None, [f"{key}=121"]), step, prompts)


def test_every_step_checks_before_it_writes(tmp_path: Path) -> None:
    settings = [
        "problems.train.count=4",
        "problems.test.count=4",
        "evaluate.samples=1",
        "evaluate.k=[1]",
    ]
    config = load_config(None, [*settings, "score.sampling.max_tokens=124"])
    with pytest.raises(UserError, match=r"score.sampling.max_tokens: 124 tokens and the longest prompt"):
        pipeline.score(config, config.problems.train.load(), tmp_path / "scores.parquet")
    config = load_config(None, [*settings, "evaluate.sampling.max_tokens=200"])
    shutil.copytree(EMBEDDED, tmp_path / "copy")
    with pytest.raises(UserError, match=r"evaluate.sampling.max_tokens: 200 tokens and a prompt .*copy"):
        pipeline.evaluate(config, {"copy": str(tmp_path / "copy")}, config.problems.test.load(), tmp_path / "e")
    with pytest.raises(UserError, match=r"train.max_tokens: 124 tokens and the longest prompt"):
        pipeline.run(load_config(None, [*settings, "train.max_tokens=124"]), tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
