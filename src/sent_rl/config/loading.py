"""Reading a recipe: YAML by name or path, the recipe that it extends, and settings on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sent_rl.config.schema import DEFAULT_METHOD, RunConfig
from sent_rl.errors import UserError, nearest
from sent_rl.files import read_text
from sent_rl.problems import parse_source
from sent_rl.problems.sources import Arithmetic, File, Gym, Hub

_SOURCES: dict[str, type[BaseModel]] = {kind.model_fields["kind"].default: kind for kind in (Arithmetic, Gym, File, Hub)}
_OWN = ("extends", "name", "description")
"""What a recipe says for itself: it takes none of these from the recipe that it extends."""


def renewed(written: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that an earlier version wrote, or some of its sections, with the keys that
    have come since; other things stay.

    They get today's defaults, which mostly are what was done before there was the key. Not so for
    ``answers.reward``: null used to read every strategy of ``answers.extract``.
    """
    known = {key: value for key, value in written.items() if key in RunConfig.model_fields}
    try:
        now = dump_config(config_from_tree(known, "written"))
    except UserError:  # a key that is gone: the difference will be named
        return dict(written)
    whole = now if "name" in known else {key: now[key] for key in known}
    return {**written, **whole}


def recipe_names() -> list[str]:
    """The recipes that ship with the package."""
    folder = resources.files("sent_rl") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(recipe: str | Path | None, settings: Sequence[str] = (), values: Mapping[str, Any] | None = None) -> RunConfig:
    """A recipe by name or file, with ``values`` by dotted key and then ``key=value`` settings on
    top; None for the defaults.

    Raises:
        UserError: an unknown recipe, key or method, or a value that does not fit.
    """
    tree = {} if recipe is None else read_tree(str(recipe))
    for key, value in (values or {}).items():
        merge(tree, key, value)
    for setting in settings:
        _apply(tree, setting)
    return config_from_tree(tree, str(recipe or "settings"))


def config_from_tree(tree: Mapping[str, Any], origin: str) -> RunConfig:
    """A checked configuration from nested mappings; ``origin`` is named in errors."""
    if "extends" in tree:  # read_tree has dealt with that of a file
        raise UserError(f"{origin}: extends: only a recipe's file can say that; start from the other recipe instead")
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{origin}: {_first_message(error)}") from error


def read_tree(recipe: str) -> dict[str, Any]:
    """A recipe by name or file as nested mappings, with what it inherits; not yet checked.

    ``extends`` names a recipe that ships, or a file from the folder of the recipe. Mappings are
    merged key by key, everything else is replaced. A method of another name, or a source of another
    kind, replaces all options of the first: those of one mean nothing to another. ``name`` and
    ``description`` are not inherited.

    Raises:
        UserError: no such recipe, not a mapping in YAML, or recipes that extend each other in a
            circle.
    """
    return _read_chain(recipe, ())


def _read_chain(recipe: str, children: tuple[str, ...]) -> dict[str, Any]:
    """``children``: the recipes on whose behalf this one is read, the first one first."""
    if Path(recipe).resolve() in {Path(child).resolve() for child in children}:
        raise UserError(f"extends: {' -> '.join([*children, recipe])} is a circle; one of them must extend nothing")
    tree = _read_mapping(recipe)
    if "extends" not in tree:
        return tree
    parent = _parent(recipe, tree["extends"])
    inherited = _read_chain(parent, (*children, recipe))
    kept = {key: value for key, value in inherited.items() if key not in _OWN}
    return _extended(kept, {key: value for key, value in tree.items() if key != "extends"})


def _parent(recipe: str, name: Any) -> str:
    """What ``extends: name`` means in ``recipe``: one that ships, or a path from its folder."""
    if not isinstance(name, str):
        raise UserError(f"{recipe}: extends: name one recipe, not {name!r}")
    if name in recipe_names():
        return name
    path = Path(recipe).parent / Path(name).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{recipe}: extends: no such recipe file: {path}")
        return str(path.resolve())
    raise UserError(f"{recipe}: extends: unknown recipe {name!r}; {nearest(name, recipe_names())}, or the path of a .yaml file")


def _extended(parent: Mapping[str, Any], child: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """The parent's tree with the child's on top; ``at``: the dotted key of both."""
    found = dict(parent)
    for key, value in child.items():
        place = f"{at}.{key}".lstrip(".")
        below = _as_written_out(place, found.get(key)), _as_written_out(place, value)
        if isinstance(below[0], Mapping) and isinstance(below[1], Mapping) and _is_of_one_kind(place, *below):
            found[key] = _extended(*below, place)
        else:
            found[key] = value
    return found


def _as_written_out(place: str, value: Any) -> Any:
    """A method or a source whose short form was used, as the mapping that it stands for."""
    if place == "method" and isinstance(value, str):
        return {"name": value}
    if place in ("problems.train", "problems.test") and isinstance(value, str):
        return parse_source(value)
    return value


def _is_of_one_kind(place: str, parent: Mapping[str, Any], child: Mapping[str, Any]) -> bool:
    """Whether both belong to the same method or kind of source; true of everything else."""
    if place == "method":
        name = parent.get("name", DEFAULT_METHOD)
        return bool(child.get("name", name) == name)
    if place in ("problems.train", "problems.test"):
        kind = parse_source(parent)["kind"]
        names_one = {"kind", "path", "dataset", "family"} & set(child)  # e.g. {count: 100} keeps the parent's
        return not names_one or bool(parse_source(child)["kind"] == kind)
    return True


def _read_mapping(recipe: str) -> dict[str, Any]:
    """The YAML of one recipe, by name or file."""
    path = Path(recipe)
    if recipe in recipe_names():
        text = (resources.files("sent_rl") / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8")
    elif path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{recipe}: no such recipe file")
        text = read_text(path)
    else:
        raise UserError(f"unknown recipe {recipe!r}; {nearest(recipe, recipe_names())}, or the path of a .yaml file")
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{recipe}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(tree, dict):
        raise UserError(f"{recipe}: a recipe is a mapping of keys to values")
    return tree


def _apply(tree: dict[str, Any], setting: str) -> None:
    """Put ``a.b=value`` into the tree; the value is YAML."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise UserError(f"--set {setting}: write key=value, e.g. train.steps=100")
    try:
        value = _number(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise UserError(f"--set {setting}: the value is not YAML") from error
    merge(tree, key, value)


def merge(tree: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at the dotted key of a tree. A short form on the way (a method's name, a source)
    becomes the mapping it stands for.
    """
    *parents, leaf = key.split(".")
    for parent in parents:
        below = tree.setdefault(parent, {})
        if not isinstance(below, dict):
            below = tree[parent] = {"name": below} if parent == "method" else _as_mapping(parent, below)
        tree = below
    tree[leaf] = value


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 as text, but whoever writes it means the number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _as_mapping(key: str, value: Any) -> dict[str, Any]:
    parsed = parse_source(value)
    if key in ("train", "test") and isinstance(parsed, dict):
        return dict(parsed)
    raise UserError(f"{key!r} holds {value!r}, which has no keys below it")


def _first_message(error: ValidationError) -> str:
    """The first complaint of pydantic in one line that names the key, and the nearest right key for
    a typo.
    """
    first = error.errors()[0]
    path = _without_tags(first["loc"])
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'; {nearest(path[-1], _keys_at(path[:-1], first['loc']))}"
    cause = first.get("ctx", {}).get("error")
    message = str(cause) if cause is not None else f"{first['msg']} (got {first['input']!r})"
    return message if not key or message.startswith(key) else f"{key}: {message}"


def _without_tags(loc: Sequence[int | str]) -> list[str]:
    """Pydantic puts the kind of a source into the path of an error; the user's file has no such
    level.
    """
    parts = [str(part) for part in loc]
    return [p for i, p in enumerate(parts) if not (i > 0 and parts[i - 1] in ("train", "test") and p in _SOURCES)]


def _keys_at(path: Sequence[str], loc: Sequence[int | str]) -> list[str]:
    """The keys that a section knows."""
    model: type[BaseModel] = RunConfig
    for part in path:
        annotation = model.model_fields[part].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
        else:  # a source: its kind stands in the location
            model = next(_SOURCES[str(p)] for p in loc if str(p) in _SOURCES)
    return list(model.model_fields)


def dump_config(config: RunConfig) -> dict[str, Any]:
    """The resolved configuration as plain values."""
    tree: dict[str, Any] = config.model_dump(mode="json")
    return tree
