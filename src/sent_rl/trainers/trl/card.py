"""What TRL's model card is told, and what it cannot be told."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sent_rl.methods import Method
from sent_rl.methods.papers import paper_of

_NO_MODEL = "[None](https://huggingface.co/None)"
"""What TRL's template makes of a model that is not on the Hub."""


class Data(NamedTuple):
    """What was trained on: a data set's id on the Hub, or what else the problems are called."""

    name: str
    on_hub: bool = False


def title_of(method: Method) -> str:
    """How the card calls the method; one without a paper is said to be this package's own."""
    title = method.card().partition(":")[0]
    return title if paper_of(method) else f"{title} (a method of sent-rl's own, without a paper)"


def citation_of(method: Method) -> dict[str, str]:
    """TRL's ``_paper`` for a method; empty where it has no paper."""
    paper = paper_of(method)
    return {} if paper is None else {"title": paper.title, "id": paper.arxiv, "citation": paper.bibtex}


def complete_card(path: Path, model: str, data: Data | None) -> None:
    """Name in TRL's card what is on this machine and not on the Hub: the model that was trained, its data, its place.

    Args:
        path: the card, as TRL wrote it.
        model: path of the model that was trained.
    """
    text = path.read_text(encoding="utf-8")
    base = f"`{Path(model).name}` (a local model)" if model else "a model without a name"
    if data is not None and not data.on_hub:
        sentence, end = "This model is a fine-tuned version of ", ".\n"
        before, _, rest = text.partition(sentence)
        version, _, after = rest.partition(end)
        text = f"{before}{sentence}{version} on `{data.name}`{end}{after}" if version else text
    text = text.replace(_NO_MODEL, base).replace('model="None"', 'model="path/to/this/folder"')
    path.write_text(text, encoding="utf-8")
