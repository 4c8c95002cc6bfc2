"""What verl's entry point ``verl.plugins`` loads, in every process that imports verl."""

from __future__ import annotations

import logging
import sys
import warnings
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from sent_rl.errors import UserError

logger = logging.getLogger(__name__)

SUPPORTED = ("0.9.0", "0.10.0")
"""verl from the first up to, but not, the second: its trainer's hooks change between minor versions."""


def check_version(version: str) -> None:
    """Raise a UserError unless this version of verl is one that the plug-in is written for."""
    from packaging.version import Version

    if not Version(SUPPORTED[0]) <= Version(version) < Version(SUPPORTED[1]):
        raise UserError(f"verl {version} is installed; this version of sent-rl needs verl >={SUPPORTED[0]},<{SUPPORTED[1]}")


def hide_trl_without_value_head() -> None:
    """verl 0.9 takes for granted that an installed TRL has ``AutoModelForCausalLMWithValueHead``; TRL 1.16 has it no more, and every worker
    would fail on loading its model. What verl is told here is that there is no TRL, which it needs for value heads only."""
    trl = find_spec("trl")
    folders = [Path(folder) for folder in (trl.submodule_search_locations or [])] if trl else []
    if not folders or any((folder / "experimental" / "ppo").is_dir() for folder in folders):
        return
    import verl.utils.import_utils

    theirs = verl.utils.import_utils.is_trl_available
    for name, module in list(sys.modules.items()):
        if name.startswith("verl.") and vars(module).get("is_trl_available") is theirs:
            module.is_trl_available = lambda: False  # type: ignore[attr-defined]


def load() -> None:
    """Register the trainer mode. verl hides what an entry point raises, so the reason is said aloud before it is raised."""
    try:
        check_version(metadata.version("verl"))
        hide_trl_without_value_head()
        import sent_rl.trainers.verl.trainer  # noqa: F401  (registers itself)
    except Exception as error:
        warnings.warn(f"sent-rl: the verl plug-in could not be loaded, trainer mode 'sent' is missing ({error})", stacklevel=2)
        raise
    logger.debug("sent-rl: trainer mode 'sent' is registered")


load()
