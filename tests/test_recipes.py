"""Recipes that extend others, and what the shipped ones say."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from sent_rl.cli import app
from sent_rl.config import dump_config, load_config, read_tree, recipe_names
from sent_rl.errors import UserError
from sent_rl.methods import Rollouts
from sent_rl.trainers.trl.run import training_arguments

PARENT = {
    "name": "parent",
    "description": "of the parent",
    "problems": {"train": {"levels": [3], "count": 64, "seed": 5}, "test": "arithmetic"},
    "method": {"name": "sent", "beta_low": 0.3, "beta_high": 0.7},
    "train": {"steps": 7, "trl": {"max_grad_norm": 0.5}},
    "evaluate": {"samples": 16, "k": [1, 16]},
}


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return written(tmp_path / "parent.yaml", PARENT)


def written(path: Path, tree: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def child(parent: Path, **tree: object) -> str:
    return str(written(parent.parent / "child.yaml", {"extends": parent.name, **tree}))


def test_a_recipe_says_only_what_differs(parent: Path) -> None:
    tree = read_tree(child(parent, train={"steps": 9, "trl": {"weight_decay": 0.1}}, evaluate={"k": [2]}))
    assert tree == {
        **{key: PARENT[key] for key in ("problems", "method")},
        "train": {"steps": 9, "trl": {"max_grad_norm": 0.5, "weight_decay": 0.1}},
        "evaluate": {"samples": 16, "k": [2]},  # lists are replaced
    }
    assert read_tree(str(parent)) == PARENT


def test_name_and_description_are_a_recipes_own(parent: Path) -> None:
    assert load_config(child(parent)).name == "run"
    assert load_config(child(parent, name="mine")).name == "mine"
    assert load_config(child(parent)).description == ""


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ({"beta_low": 0.4}, {"name": "sent", "beta_low": 0.4, "beta_high": 0.7}),
        ({"name": "sent", "beta_low": 0.4}, {"name": "sent", "beta_low": 0.4, "beta_high": 0.7}),
        ({"name": "kl_cov", "beta": 0.5}, {"name": "kl_cov", "beta": 0.5}),
        ("grpo", "grpo"),
        ("sent", {"name": "sent", "beta_low": 0.3, "beta_high": 0.7}),
    ],
)
def test_options_of_another_method_do_not_leak(parent: Path, method: object, expected: object) -> None:
    recipe = child(parent, method=method)
    assert read_tree(recipe)["method"] == expected
    load_config(recipe)  # an option of sent in kl_cov would be refused


def test_options_of_another_source_do_not_leak(parent: Path) -> None:
    assert read_tree(child(parent, problems={"train": {"count": 5}}))["problems"]["train"] == {
        "levels": [3],
        "count": 5,
        "seed": 5,
    }
    for source in ("openai/gsm8k", {"dataset": "openai/gsm8k"}, {"kind": "gym", "family": "gcd"}):
        assert read_tree(child(parent, problems={"train": source}))["problems"]["train"] == source


def test_chains_shipped_parents_and_settings(tmp_path: Path) -> None:
    written(tmp_path / "a.yaml", {"extends": "paper-7b", "method": "grpo"})
    middle = written(tmp_path / "below" / "b.yaml", {"extends": "../a.yaml", "train": {"learning_rate": 2e-6}})
    config = load_config(middle, ["train.kl_coef=0.5"])
    assert config.model.path == "Qwen/Qwen2.5-Math-7B"
    assert (config.method.name, config.train.learning_rate, config.train.kl_coef) == (
        "grpo",
        2e-6,
        0.5,
    )
    resolved = dump_config(config)
    assert "extends" not in resolved
    again = written(tmp_path / "resolved.yaml", resolved)
    assert load_config(again) == config


@pytest.mark.parametrize(
    ("trees", "message"),
    [
        (
            {"a": {"extends": "papr-7b"}},
            r"a\.yaml: extends: unknown recipe 'papr-7b'; did you mean 'paper-7b'",
        ),
        ({"a": {"extends": "gone.yaml"}}, r"a\.yaml: extends: no such recipe file: .*gone\.yaml"),
        ({"a": {"extends": ["b.yaml"]}}, r"a\.yaml: extends: name one recipe, not \['b\.yaml'\]"),
        ({"a": {"extends": "a.yaml"}}, r"extends: .*a\.yaml -> .*a\.yaml is a circle"),
        (
            {"a": {"extends": "b.yaml"}, "b": {"extends": "a.yaml"}},
            r"extends: .*a\.yaml -> .*b\.yaml -> .*a\.yaml is a circle",
        ),
        ({"a": {"extends": "b.yaml"}, "b": {"trian": {}}}, r"a\.yaml: unknown key 'trian'"),
    ],
)
def test_what_cannot_be_extended(tmp_path: Path, trees: dict[str, object], message: str) -> None:
    for name, tree in trees.items():
        written(tmp_path / f"{name}.yaml", tree)
    with pytest.raises(UserError, match=message) as raised:
        load_config(tmp_path / "a.yaml")
    assert "\n" not in str(raised.value)


def test_only_a_file_extends_another() -> None:
    with pytest.raises(UserError, match=r"quickstart: extends: only a recipe's file can say that"):
        load_config("quickstart", ["extends=paper-7b"])


# ---- the recipes that ship

PAPER = ("paper-1.5b", "paper-7b", "paper-14b")
PUBLISHED = ("published-1.5b", "published-7b", "published-14b")
FOLDER = Path(str(resources.files("sent_rl") / "recipes"))
TOKENS = {"paper-1.5b": 8000, "paper-7b": 2048, "paper-14b": 8000}


@pytest.mark.parametrize("name", [*PAPER, *PUBLISHED])
def test_what_the_papers_recipes_say(name: str) -> None:
    config = load_config(name)
    train, evaluate, size = config.train, config.evaluate, name.partition("-")[2]
    assert config.model.path == load_config(f"paper-{size}").model.path
    assert (
        train.generations,
        train.temperature,
        train.questions_per_step,
        train.updates_per_rollout,
    ) == (8, 1.0, 256, 2)
    assert (train.learning_rate, train.passes, train.kl_coef, train.max_tokens) == (
        1e-6,
        5,
        1e-3,
        2048,
    )
    assert (evaluate.k, evaluate.sampling.temperature, config.hardware.gpus) == (
        [8, 16, 32],
        1.0,
        4,
    )
    assert evaluate.sampling.max_tokens == TOKENS[f"paper-{size}"]
    assert config.stage.thresholds == [2.0]
    assert config.prompting.template == "{question}\nPlease reason step by step, and put your final answer within \\boxed{}."


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_run(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    method, train = config.method.model_dump(), config.train
    assert method == {
        "name": "sent_as_published", "low_entropy_fraction": 0.8, "extreme_fraction": 2e-4, "beta_low": 0.05, "beta_high": 0.2,
        "faithful_bug": True, "scope": "micro_batch",
    }  # fmt: skip
    assert (train.micro_batch, train.stage_reset) == (4, ["optimizer", "schedule", "reference"])
    arguments = training_arguments(config, tmp_path)
    assert (arguments.beta, arguments.use_bias_correction_kl) == (1e-3, False)  # a plain k3
    assert (arguments.per_device_train_batch_size, arguments.updates_per_rollout) == (4, 2)


@pytest.mark.parametrize("name", [*PAPER, *PUBLISHED])
def test_every_value_says_whose_it_is(name: str) -> None:
    """paper, code, or ours with a reason, beside the value or in the lines above it."""
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    exempt = ("extends:", "name:", "description:")
    since: list[str] = []  # the lines since the last value
    for line in lines:
        since.append(line)
        if line.startswith(exempt):
            since.clear()
        elif not line.lstrip().startswith("#") and not line.endswith((":", ",")):
            assert re.search(r"# (paper|code|ours: .{8,})", "\n".join(since)), line
            since.clear()


@pytest.mark.parametrize("name", [*PAPER, *PUBLISHED])
def test_a_recipe_repeats_nothing_of_the_one_it_extends(name: str) -> None:
    own = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    if "extends" in own:
        parent = read_tree(own.pop("extends"))
        if own.get("method", {}).get("name") != parent["method"]["name"]:
            own.pop("method", None)  # replaced as a whole
        assert not set(leaves(own)) & set(leaves(parent))


def leaves(tree: object, at: str = "") -> list[tuple[str, str]]:
    if isinstance(tree, dict):
        return [leaf for key, value in tree.items() for leaf in leaves(value, f"{at}.{key}")]
    return [(at, str(tree))]


def test_how_strong_the_penalties_are() -> None:
    """The authors' factors fall on two tokens of a micro-batch; SENT's coefficients on every token of low entropy."""
    torch.manual_seed(0)
    micro_batches = [Rollouts(-torch.rand(4, 1660), torch.rand(4, 1660), torch.randn(4), torch.ones(4, 1660)) for _ in range(12)]
    published = load_config("published-1.5b").method.model_copy(update={"faithful_bug": False})
    theirs = torch.cat([published.treat(rollouts).kl_coef for rollouts in micro_batches])
    assert int((theirs > 0).sum()) == 24
    assert float(theirs.sum()) == pytest.approx(12 * (0.05 + 0.2))
    logps, entropies, advantages, mask = (
        torch.cat([getattr(r, name) for r in micro_batches]) for name in ("logps", "entropies", "advantages", "mask")
    )
    joined = Rollouts(logps, entropies, advantages, mask)
    for name in PAPER:
        ours = load_config(name).method.treat(joined).kl_coef
        assert int((ours > 0).sum()) == int(0.8 * ours.numel())
        # between the paper's uniform KL and DeepSeekMath's, averaged over all tokens
        assert 0.001 < float(ours.mean()) < 0.04, name
        assert float(ours.mean()) == pytest.approx(0.0087, abs=1e-4)  # as docs/scale.md says


def test_the_listing_is_readable() -> None:
    done = CliRunner().invoke(app, ["recipes"], catch_exceptions=False)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[: len(recipe_names())]] == recipe_names()
    own = lines[: len(recipe_names())]
    assert all(len(line) <= 135 and line[20] == " " and line[21] != " " for line in own), max(own, key=len)
