"""Running a command: what the shell is told of a mistake, and of Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from sent_rl.errors import UserError


class _Interrupted(BaseException):
    """Ctrl-C, by a name that the command-line library does not swallow."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise _Interrupted


def run_app(app: typer.Typer) -> None:
    """Run a command: a mistake of the user's is one line and exit code 2."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except _Interrupted:
        if os.environ.get("RANK", "0") == "0":  # one voice
            print("interrupted; the same command goes on from the last finished part", file=sys.stderr)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, before)
