"""What a method and an online curriculum remember, as a file of a checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sent_rl.curriculum import OnlineStages
from sent_rl.errors import UserError, first_line
from sent_rl.files import write_json
from sent_rl.methods import Method, State

STATE_FILE = "sent_state.json"
"""In the folder of a checkpoint."""


def write_state(checkpoint: Path, state: State | None, order: object) -> None:
    """Write the method's ``state``, and that of ``order`` where it follows the rollouts."""
    curriculum = order.state_dict() if isinstance(order, OnlineStages) else None
    write_json(checkpoint / STATE_FILE, {"method": state, "curriculum": curriculum})


def read_state(checkpoint: Path, method: Method, order: object) -> State | None:
    """The method's state in a checkpoint; an online curriculum ``order`` goes on where it was.

    Raises:
        UserError: the method has a state, or the curriculum is online, and the checkpoint does
            not hold it: training would go on, but as another run.
    """
    path, online = checkpoint / STATE_FILE, isinstance(order, OnlineStages)
    if not (method.state_keys or online):
        return None
    fix = "resume at a checkpoint that this method wrote, or start anew in another folder"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        state, curriculum = found["method"], found["curriculum"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)}); {fix}") from error
    if method.state_keys and not _is_state(state, method):
        raise UserError(f"{path}: holds no state of method {method.name!r}; {fix}")
    if isinstance(order, OnlineStages):
        try:
            order.load_state_dict(curriculum)
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: holds no state of an online curriculum; {fix}") from error
    return dict(state) if method.state_keys else None


def _is_state(found: Any, method: Method) -> bool:
    """Whether ``found`` has the method's numbers and no others."""
    if not isinstance(found, Mapping) or set(found) != method.state_keys:
        return False
    numbers = (v for v in found.values() if isinstance(v, int | float) and not isinstance(v, bool))
    return sum(map(math.isfinite, numbers)) == len(found)
