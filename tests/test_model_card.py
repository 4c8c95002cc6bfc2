"""The card of a trained model says what it was made from, and by which method."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from trl_helpers import ours

from sent_rl.config import load_config
from sent_rl.curriculum import CURRICULUM
from sent_rl.methods import card, get, method_class, names
from sent_rl.methods.papers import paper_of
from sent_rl.models import EMBEDDED
from sent_rl.trainers.trl.card import Data
from sent_rl.trainers.trl.run import train


def written_card(trainer: Any, *arguments: Any) -> str:
    trainer.create_model_card(*arguments)
    text = (Path(trainer.args.output_dir) / "README.md").read_text(encoding="utf-8")
    assert "None" not in text
    return text


@pytest.mark.parametrize("method", [*names(), {"name": "entropy_bonus", "adaptive": True}], ids=str)
def test_every_method_has_its_paper_or_says_that_it_is_ours(method: Any) -> None:
    found = paper_of(get(**method) if isinstance(method, dict) else get(method))
    source = re.search(r"Source: (.*?)\n\n", card(method if isinstance(method, str) else method["name"]), re.DOTALL)
    assert source is not None
    if found is None:
        assert source[1].startswith("ours; no paper")
    else:
        assert f"arXiv {found.arxiv}" in " ".join(source[1].split())
        assert found.authors.partition(",")[0] in source[1] or "ablation" in source[1] or "the authors' repository" in source[1]
        assert f"eprint = {{{found.arxiv}}}" in found.bibtex


@pytest.mark.parametrize("method", ["kl_cov", "sent_adaptive"])
def test_the_card_cites_the_method_and_not_grpo(tmp_path: Path, method: str) -> None:
    text = written_card(ours(tmp_path, method=method), "mine")
    assert "DeepSeekMath" not in text
    assert "fine-tuned version of `embedded` (a local model)." in text
    if method == "kl_cov":
        title = "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models"
        assert f"trained with KL-Cov, a method introduced in [{title}](https://huggingface.co/papers/2505.22617)." in text
        assert "Cite KL-Cov as:" in text
    else:
        assert method_class(method).card().startswith("SENT, adaptive:")
        assert "trained with SENT, adaptive (a method of sent-rl's own, without a paper)." in text


def test_a_model_and_data_of_the_hub_are_linked(tmp_path: Path) -> None:
    trainer = ours(tmp_path, method="grpo")
    trainer.model.config._name_or_path, trainer.data = "owner/model", Data("owner/data", on_hub=True)
    text = written_card(trainer)
    assert (
        "version of [owner/model](https://huggingface.co/owner/model) on the [owner/data](https://huggingface.co/datasets/owner/data)"
        in text
    )
    assert "DeepSeekMath" in text
    facts: Any = ModelCard(text).data
    assert (facts.base_model, facts.datasets) == ("owner/model", "owner/data")


def test_final_has_the_card(tmp_path: Path) -> None:
    """Trained from a copy of the model in a folder of the user's, on problems of a file."""
    shutil.copytree(EMBEDDED, tmp_path / "my-model")
    settings = [f"model.path={tmp_path / 'my-model'}", "train.steps=1", "train.questions_per_step=2", "train.generations=2"]
    config = load_config(None, [*settings, "train.max_tokens=4", "method=clip_cov", "name=first", "train.report_to=[]"])
    blank = dict.fromkeys(CURRICULUM.names)
    rows = [{**blank, "id": str(i), "prompt": "1+1", "answer": "2", "stage": 0, "source": "data/sums.jsonl"} for i in range(4)]
    for row in rows:
        row["metadata"], row["semantic_entropy"] = json.dumps({}), 0.0
    text = (train(config, rows, tmp_path / "t") / "README.md").read_text(encoding="utf-8")
    assert "# Model Card for first" in text
    assert "fine-tuned version of `my-model` (a local model) on `sums.jsonl`." in text
    assert "2505.22617" in text
    assert str(tmp_path) not in text
