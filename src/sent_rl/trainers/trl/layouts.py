"""How several processes share a model: accelerate's configurations, as a recipe asks for them."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from sent_rl.config import Train
from sent_rl.errors import UserError, nearest
from sent_rl.files import read_text

_OFFLOADED: dict[str, tuple[str, dict[str, Any]]] = {
    "fsdp2": ("fsdp_config", {"fsdp_offload_params": True}),
    "zero3": (
        "deepspeed_config",
        {"offload_param_device": "cpu", "offload_optimizer_device": "cpu"},
    ),
}
"""Layout -> section of its configuration, and the keys there that offload the training state."""


def layouts() -> list[str]:
    """The accelerate configurations that ship with the package."""
    folder = resources.files("sent_rl") / "recipes" / "accelerate"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def check_layout(train: Train, layout: str | None) -> None:
    """Refuse before anything is sampled what the processes would refuse.

    Raises:
        UserError: an unknown layout, or one that cannot do what the recipe asks for.
    """
    tree = {} if layout is None else _read(layout)
    sharded = tree.get("distributed_type") in ("FSDP", "DEEPSPEED")
    if train.offload and not _offloads(tree):
        known = " or ".join(_OFFLOADED)
        if layout is None or (layout in layouts() and layout not in _OFFLOADED):
            raise UserError(f"train.offload: the state is offloaded in shards: --processes N --layout {known}, or train.offload=false")
        if layout not in _OFFLOADED:
            raise UserError(f"train.offload: {layout} does not say so; set fsdp_offload_params: true in it, or leave it out")
    if "reference" in train.stage_reset and sharded:
        raise UserError(
            f"train.stage_reset: 'reference' needs the whole model in each process, and --layout {layout} has it in"
            " shards; leave it out, or run each stage as a job of its own with verl (sent export verl)"
        )


def configuration(layout: str, offload: bool, folder: Path) -> Path:
    """The accelerate configuration of a layout; one that offloads is written to ``folder``.

    Raises:
        UserError: neither a layout nor the path of a configuration.
    """
    tree = _read(layout)
    if not offload or _offloads(tree):
        return _path(layout)
    section, keys = _OFFLOADED[layout]
    tree[section] |= keys
    written = folder / f"{layout}.yaml"
    written.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return written


def check_offloading() -> None:
    """In a process that a launcher has started: refuse where it was not told to offload.

    Raises:
        UserError: says what to start it with.
    """
    told = os.environ.get("FSDP_OFFLOAD_PARAMS", "").lower() == "true"
    told |= os.environ.get("ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE", "none") not in ("", "none")
    # A configuration file of DeepSpeed's own says it itself.
    if not told and "ACCELERATE_DEEPSPEED_CONFIG_FILE" not in os.environ:
        raise UserError(
            "train.offload: the launcher was not told so; set fsdp_offload_params: true in accelerate's configuration,"
            " or start with sent run --processes N --layout fsdp2"
        )


def _path(layout: str) -> Path:
    own = Path(layout)
    if own.suffix in (".yaml", ".yml"):
        if not own.is_file():
            raise UserError(f"--layout {layout}: no such accelerate configuration")
        return own
    if layout not in layouts():
        raise UserError(f"--layout {layout}: {nearest(layout, layouts())}, or the path of an accelerate configuration")
    return Path(str(resources.files("sent_rl") / "recipes" / "accelerate" / f"{layout}.yaml"))


def _read(layout: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(read_text(_path(layout)))
    except yaml.YAMLError as error:
        raise UserError(f"--layout {layout}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(tree, dict):
        raise UserError(f"--layout {layout}: not a configuration of accelerate's")
    return tree


def _offloads(tree: dict[str, Any]) -> bool:
    """Whether an accelerate configuration keeps the training state in main memory."""
    fsdp, deepspeed = tree.get("fsdp_config") or {}, tree.get("deepspeed_config") or {}
    by_deepspeed = deepspeed.get("offload_param_device", "none") != "none" or "deepspeed_config_file" in deepspeed
    return bool(fsdp.get("fsdp_offload_params")) or by_deepspeed
