"""Recipes that extend others, and what the shipped ones say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sent_rl.config import dump_config, load_config, read_tree
from sent_rl.errors import UserError

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
    assert read_tree(child(parent, problems={"train": {"count": 5}}))["problems"]["train"] == {"levels": [3], "count": 5, "seed": 5}
    for source in ("openai/gsm8k", {"dataset": "openai/gsm8k"}, {"kind": "gym", "family": "gcd"}):
        assert read_tree(child(parent, problems={"train": source}))["problems"]["train"] == source


def test_chains_shipped_parents_and_settings(tmp_path: Path) -> None:
    written(tmp_path / "a.yaml", {"extends": "paper-7b", "method": "grpo"})
    middle = written(tmp_path / "below" / "b.yaml", {"extends": "../a.yaml", "train": {"learning_rate": 2e-6}})
    config = load_config(middle, ["train.kl_coef=0.5"])
    assert config.model.path == "Qwen/Qwen2.5-Math-7B"
    assert (config.method.name, config.train.learning_rate, config.train.kl_coef) == ("grpo", 2e-6, 0.5)
    resolved = dump_config(config)
    assert "extends" not in resolved
    again = written(tmp_path / "resolved.yaml", resolved)
    assert load_config(again) == config


@pytest.mark.parametrize(
    ("trees", "message"),
    [
        ({"a": {"extends": "papr-7b"}}, r"a\.yaml: extends: unknown recipe 'papr-7b'; did you mean 'paper-7b'"),
        ({"a": {"extends": "gone.yaml"}}, r"a\.yaml: extends: no such recipe file: .*gone\.yaml"),
        ({"a": {"extends": ["b.yaml"]}}, r"a\.yaml: extends: name one recipe, not \['b\.yaml'\]"),
        ({"a": {"extends": "a.yaml"}}, r"extends: .*a\.yaml -> .*a\.yaml is a circle"),
        ({"a": {"extends": "b.yaml"}, "b": {"extends": "a.yaml"}}, r"extends: .*a\.yaml -> .*b\.yaml -> .*a\.yaml is a circle"),
        ({"a": {"extends": "b.yaml"}, "b": {"trian": {}}}, r"a\.yaml: unknown key 'trian'"),
    ],
)
def test_what_cannot_be_extended(tmp_path: Path, trees: dict[str, object], message: str) -> None:
    for name, tree in trees.items():
        written(tmp_path / f"{name}.yaml", tree)
    with pytest.raises(UserError, match=message) as raised:
        load_config(tmp_path / "a.yaml")
    assert "\n" not in str(raised.value)
