"""Tables carry the settings they were made with; later steps take them over and refuse others."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from sent_rl import pipeline
from sent_rl.config import RunConfig, dump_config, load_config
from sent_rl.errors import UserError
from sent_rl.files import read_facts
from sent_rl.models import EMBEDDED
from sent_rl.rollouts import Prompt, Response, Sampling
from sent_rl.trainers.trl import run as trl_run

TEMPLATE = 'prompting.template="0+{question}\\n"'
MADE_WITH = ["score.samples=2", "problems.train.count=4", TEMPLATE, "answers.extract=[hash]", 'model.stop=["#### "]']


class Engine:
    batch_size = 64

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, logprobs: bool = False) -> list[list[Response]]:
        return [[Response(f"#### {i}", 4, True) for i in range(n)] for _ in prompts]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a model in it, where scoring costs nothing."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(EMBEDDED, "m")
    monkeypatch.setattr(pipeline, "lazy_engine", lambda *_: Engine())
    return tmp_path


@pytest.fixture
def curriculum(folder: Path) -> Path:
    config = load_config(None, ["model.path=m", *MADE_WITH])
    pipeline.score(config, config.problems.train.load(), Path("s.parquet"))
    pipeline.stage(load_config(None), Path("s.parquet"), Path("c.parquet"))
    return Path("c.parquet")


@pytest.fixture
def trained_with(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The configurations that come to the trainer."""
    seen: list[RunConfig] = []

    def train(config: RunConfig, rows: Any, folder: Path, *_: Any) -> Path:
        seen.append(config)
        return folder / "final"

    monkeypatch.setattr(trl_run, "train", train)
    return seen


def test_a_table_says_what_it_was_made_with(curriculum: Path) -> None:
    for path in (Path("s.parquet"), curriculum):
        settings = read_facts(path)["settings"]
        assert settings["model"]["path"] == str(Path("m").resolve())
        assert settings["model"]["stop"] == ["#### "]
        assert settings["prompting"] == {"template": "0+{question}\n", "chat": False}
        assert settings["answers"]["extract"] == ["hash"]
        assert settings["score"]["samples"] == 2
        assert settings["score"]["sampling"]["max_tokens"] == 64  # half of the model's positions
        assert (settings["seed"], settings["engine"]) == (0, "transformers")


def test_training_takes_over_what_the_user_did_not_say(
    curriculum: Path, trained_with: list[RunConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = curriculum.resolve()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")  # a local model is found from anywhere
    pipeline.train(load_config(None, ["model.dtype=bfloat16", "train.steps=3"]), table, Path("t"))
    (config,) = trained_with
    assert config.model.path == str((table.parent / "m").resolve())
    assert (config.model.stop, config.model.dtype) == (["#### "], "bfloat16")
    assert config.prompting.template == "0+{question}\n"
    assert config.answers.extract == ["hash"]
    assert config.train.steps == 3
    assert "as in " in capsys.readouterr().out


def test_training_takes_what_agrees(curriculum: Path, trained_with: list[RunConfig]) -> None:
    pipeline.train(load_config(None, ["model.path=./m/", *MADE_WITH, "answers.thoughts=false"]), curriculum, Path("t"))
    assert trained_with[0].model.path == "./m/"


def test_a_model_that_has_moved_is_still_the_one(curriculum: Path, trained_with: list[RunConfig]) -> None:
    """Scored on another machine, or before the folder got another name."""
    Path("m").rename("moved")
    pipeline.train(load_config(None, ["model.path=./moved"]), curriculum, Path("t"))
    assert trained_with[0].model.path == "./moved"
    with pytest.raises(UserError, match="no such model folder"):
        pipeline.train(load_config(None), curriculum, Path("t"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.path=embedded", "model.path: c.parquet was made with '{m}', and 'embedded' is asked for"),
        ("model.stop=[]", "model.stop: c.parquet was made with ['#### '], and [] is asked for"),
        ('prompting.template="{question}="', "prompting.template: c.parquet was made with '0+{question}\\n', and '{question}='"),
        ("answers.extract=[boxed]", "answers.extract: c.parquet was made with ['hash'], and ['boxed'] is asked for"),
        ("answers.reward=[boxed]", "answers.reward: c.parquet was made with None, and ['boxed'] is asked for"),
    ],
)
def test_other_settings_are_refused(curriculum: Path, trained_with: list[RunConfig], setting: str, message: str) -> None:
    config = load_config(None, [setting])
    message = message.replace("{m}", str(Path("m").resolve()))
    with pytest.raises(UserError) as refused:
        pipeline.train(config, curriculum, Path("t"))
    assert str(refused.value).startswith(message)
    with pytest.raises(UserError, match="was made with"):
        pipeline.stage(config, Path("s.parquet"), Path("d.parquet"))
    with pytest.raises(UserError, match="was made with"):
        pipeline.export_verl(config, Path("job"), curriculum=curriculum)
    assert not trained_with
    assert not Path("d.parquet").exists()
    assert not Path("job").exists()


def test_only_what_the_scores_were_read_with_counts(folder: Path, trained_with: list[RunConfig]) -> None:
    """Of the strategies the scores depend on answers.score alone, where that is given."""
    config = load_config(None, ["model.path=m", *MADE_WITH, "answers.score=[hash]"])
    pipeline.score(config, config.problems.train.load(), Path("s.parquet"))
    pipeline.stage(load_config(None), Path("s.parquet"), Path("c.parquet"))
    pipeline.train(load_config(None, ["answers.reward=[boxed]", "answers.extract=[boxed]"]), Path("c.parquet"), Path("t"))
    assert trained_with[0].answers.reward == ["boxed"]
    with pytest.raises(UserError, match=r"answers\.score: c\.parquet was made with"):
        pipeline.train(load_config(None, ["answers.score=[boxed]"]), Path("c.parquet"), Path("t"))


def test_a_broken_file_beside_a_model_is_somebody_elses(folder: Path, evaluated_with: list[RunConfig]) -> None:
    Path("train.yaml").write_text("a: [")
    pipeline.evaluate_models(load_config(None, ["problems.test.count=2"]), {"m": "m"}, Path("e"))
    assert len(evaluated_with) == 1


def test_the_fix_that_is_named_works(curriculum: Path, trained_with: list[RunConfig]) -> None:
    with pytest.raises(UserError, match="was made with") as refused:
        pipeline.train(load_config(None, ['prompting.template="{question}="']), curriculum, Path("t"))
    fix = str(refused.value).partition("--set '")[2].partition("' to keep")[0]
    pipeline.train(load_config(None, ['prompting.template="{question}="', fix]), curriculum, Path("t"))
    assert trained_with[0].prompting.template == "0+{question}\n"


def test_a_table_of_somebody_else_is_taken_as_it_is(curriculum: Path, trained_with: list[RunConfig]) -> None:
    pq.write_table(pq.read_table(curriculum).replace_schema_metadata(None), "own.parquet")
    pipeline.train(load_config(None, ["answers.extract=[boxed]"]), Path("own.parquet"), Path("t"))
    assert trained_with[0].answers.extract == ["boxed"]
    assert trained_with[0].model.path == "embedded"


def test_scores_from_a_server_name_no_local_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for asks_the_server in ("check_engine", "engine_identity"):
        monkeypatch.setattr(pipeline, asks_the_server, lambda *_, **__: None)
    config = load_config(None, [*MADE_WITH, "engine={kind: openai, openai: {model: big}}"])
    pipeline.score(config, config.problems.train.load(), Path("s.parquet"))
    settings = read_facts(Path("s.parquet"))["settings"]
    assert (settings["engine"], settings["served"], "model" in settings) == ("openai", "big", False)


@pytest.fixture
def evaluated_with(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The configurations that an evaluation comes to."""
    seen: list[RunConfig] = []
    monkeypatch.setattr(pipeline, "evaluate_sets", lambda config, *_: seen.append(config))

    def write_benchmarks(folder: Path, *_: Any) -> None:
        folder.mkdir()
        (folder / "table.txt").touch()

    monkeypatch.setattr(pipeline, "write_benchmarks", write_benchmarks)
    monkeypatch.setattr(pipeline, "load_benchmark", lambda *_: [])
    return seen


def test_evaluation_on_a_table_asks_as_the_table_does(curriculum: Path, evaluated_with: list[RunConfig]) -> None:
    pipeline.evaluate_models(load_config(None, ["problems.test=c.parquet"]), {"m": "m"}, Path("e"))
    assert evaluated_with[0].prompting.template == "0+{question}\n"
    assert evaluated_with[0].answers.extract == ["hash"]
    assert evaluated_with[0].model.path == "embedded"  # the models are named beside
    with pytest.raises(UserError, match="was made with"):
        pipeline.evaluate_models(load_config(None, ["problems.test=c.parquet", "answers.extract=[boxed]"]), {"m": "m"}, Path("e"))


def test_a_trained_model_is_asked_as_in_training(folder: Path, evaluated_with: list[RunConfig], capsys: pytest.CaptureFixture[str]) -> None:
    Path("t").mkdir()
    tree = dump_config(load_config(None, [*MADE_WITH, "prompting.chat=true"]))
    identity = {key: tree[key] for key in ("seed", "model", "prompting", "answers", "method", "train")}
    Path("t/train.yaml").write_text(yaml.safe_dump({**identity, "curriculum": "a hash"}), encoding="utf-8")
    Path("train.yaml").write_text("model: of somebody else\n", encoding="utf-8")
    models = {"m": "m", "t/final": "t/final"}
    pipeline.evaluate_models(load_config(None, ["problems.test.count=2"]), models, Path("e"))
    assert (evaluated_with[0].prompting.template, evaluated_with[0].prompting.chat) == ("0+{question}\n", True)
    assert (evaluated_with[0].answers.extract, evaluated_with[0].model.stop) == (["hash"], ["#### "])
    assert "warning" not in capsys.readouterr().out
    pipeline.evaluate_models(load_config(None, ["answers.extract=[boxed]"]), models, Path("e"))
    assert evaluated_with[1].answers.extract == ["boxed"]
    assert "warning: answers.extract: ['boxed'] here, but ['hash'] in t/train.yaml" in capsys.readouterr().out
    pipeline.evaluate_benchmarks(load_config(None), models, ["aime24"], Path("b"))
    benchmarked = evaluated_with[2]
    assert (benchmarked.prompting.chat, benchmarked.model.stop) == (True, ["#### "])
    assert benchmarked.answers == load_config(None).answers  # a benchmark asks for a box
    assert benchmarked.prompting.template == load_config(None).prompting.template
