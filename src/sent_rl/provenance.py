"""The settings that a table was made with: later steps take them over, and refuse others."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sent_rl.config import RunConfig, dump_config
from sent_rl.console import console
from sent_rl.errors import UserError, first_line
from sent_rl.files import read_facts

Keys = Mapping[str, Sequence[str]]
"""Section of the configuration -> its keys."""

FORM_KEYS: Keys = {"prompting": ("template", "chat"), "answers": ("extract", "thoughts", "opened")}
# Not model.dtype: sampling in bfloat16 and training float32 weights is usual.
SCORE_KEYS: Keys = {
    "model": ("path", "stop"),
    "prompting": ("template", "chat"),
    "answers": ("extract", "reward", "score", "thoughts", "opened"),
}
"""What the scores in a table depend on."""
MODEL_KEYS: Keys = {"model": ("stop",), **FORM_KEYS}
"""What a model was trained with and goes on with."""
BENCHMARK_KEYS: Keys = {"model": ("stop",), "prompting": ("chat",)}
"""The same where the benchmark says what is asked and how answers are written."""


def settings_of(config: RunConfig) -> dict[str, Any]:
    """What a table of scores says in its metadata, under ``settings``."""
    tree = dump_config(config)
    kept = {key: tree[key] for key in ("seed", "prompting", "answers", "score")}
    if config.engine.kind == "openai":  # then model.path says nothing about what was sampled
        return {**kept, "engine": "openai", "served": config.engine.openai.model}
    model = {**tree["model"], "path": _absolute(config.model.path)}
    return {**kept, "engine": config.engine.kind, "model": model}


def table_settings(path: Path) -> dict[str, Any]:
    """The settings that a table was made with; none in one that was made elsewhere."""
    found = read_facts(path).get("settings")
    return found if isinstance(found, dict) else {}


def take_over(config: RunConfig, settings: Mapping[str, Any], origin: str, keys: Keys = SCORE_KEYS) -> RunConfig:
    """``config`` with the settings of ``origin`` where the user said nothing.

    What the user said, in a recipe or by an option, is in pydantic's ``model_fields_set``.

    Raises:
        UserError: the settings are none of ours.
    """
    sections: dict[str, BaseModel] = {}
    for section, names in keys.items():
        theirs, now = settings.get(section, {}), getattr(config, section)
        told = {name: theirs[name] for name in names if name in theirs}
        try:
            sections[section] = type(now).model_validate({**told, **now.model_dump(exclude_unset=True)})
        except ValidationError as error:
            raise UserError(f"{origin}: its settings cannot be read ({first_line(error)})") from error
    return config.model_copy(update=sections)


def disagreements(config: RunConfig, settings: Mapping[str, Any], keys: Keys = SCORE_KEYS) -> list[tuple[str, Any, Any]]:
    """(key, the value in ``settings``, the value in ``config``) wherever the two differ."""
    found = []
    for section, names in keys.items():
        theirs, now = settings.get(section, {}), getattr(config, section)
        for name in names:
            one, other = theirs.get(name), getattr(now, name)
            same = _same_model(one, other) if name == "path" else one == other
            if name in theirs and not same:
                found.append((f"{section}.{name}", one, other))
    return found


def as_in_table(config: RunConfig, table: Path, keys: Keys = SCORE_KEYS) -> RunConfig:
    """``config`` as a step that reads ``table`` has to have it; one line says what was taken over.

    Raises:
        UserError: the user asks for something else than the table was made with.
    """
    settings = table_settings(table)
    agreed = take_over(config, settings, str(table), keys)
    for key, theirs, ours in disagreements(agreed, settings, keys):
        if keys is SCORE_KEYS and key in ("answers.extract", "answers.reward") and _scored_alike(agreed, settings):
            continue
        keep = shlex.quote(f"{key}={json.dumps(theirs, ensure_ascii=False)}")
        raise UserError(
            f"{key}: {table} was made with {theirs!r}, and {ours!r} is asked for; "
            f"leave it out or say --set {keep} to keep the table's, or score again with yours"
        )
    changed = [f"{key} {now!r}" for key, now, _ in disagreements(config, dump_config(agreed), keys)]
    if changed:
        console.print(f"as in {table}: {', '.join(changed)}")
    return agreed


def _scored_alike(config: RunConfig, settings: Mapping[str, Any]) -> bool:
    """Whether the scores' strategies are those of ``settings``, from whatever keys they follow."""
    return type(config.answers).model_validate(settings.get("answers", {})).of_scores == config.answers.of_scores


def as_trained(config: RunConfig, models: Iterable[str], keys: Keys = MODEL_KEYS) -> RunConfig:
    """``config`` with what trained models among these were trained with, where the user said nothing.

    It is found beside the folder of a model, in ``train.yaml``. What the user says otherwise holds:
    a model may be asked in another way; a warning names the key.
    """
    trained = dict(filter(None, map(_training, models)))
    for origin, settings in trained.items():
        config = take_over(config, settings, origin, keys)
    for origin, settings in trained.items():
        for key, theirs, ours in disagreements(config, settings, keys):
            console.print(f"warning: {key}: {ours!r} here, but {theirs!r} in {origin}")
    return config


def _training(model: str) -> tuple[str, dict[str, Any]] | None:
    """The file that `sent train` left beside a model's folder, and what it says; None where there is none."""
    path = Path(model).parent / "train.yaml"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError, OSError):
        return None
    if not isinstance(found, dict) or not {"prompting", "answers", "method", "curriculum"} <= set(found):
        return None  # or somebody else's
    return str(path), found


def _same_model(one: str | None, other: str) -> bool:
    """Whether two paths may mean the same model; of a folder that is not on this machine nobody knows."""
    if one is None or (Path(one).is_absolute() and not Path(one).is_dir()):
        return True
    return _absolute(one) == _absolute(other)


def _absolute(path: str) -> str:
    """A local folder by its full name; the name of another model as it is."""
    folder = Path(path).expanduser()
    named = path in ("embedded", "smollm2")  # also where a folder of that name lies around
    return str(folder.resolve()) if folder.is_dir() and not named else path
