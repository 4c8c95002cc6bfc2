"""math-verify at arm's length: a few judge processes, started when they are needed and replaced
when they die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from sent_rl.errors import UserError

PROCESSES = 2
"""Judges of this process; threads share them."""
ATTEMPTS = 2
"""How often a pair is asked about when judges are killed from outside."""

Outcome = Literal["same", "different", "time", "memory", "failed", "lost"]
"""What became of a pair. Without a verdict: ``time`` and ``memory`` (the limit was reached),
``failed`` (math-verify gave up or crashed), ``lost`` (the process was killed or stopped from
outside, which says nothing about the pair)."""


class Reply(NamedTuple):
    outcome: Outcome
    seconds: float
    """CPU time of the process that judged the pair."""


_LOST = Reply("lost", 0.0)


class _Judge:
    """One judge process."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("judge.py")
        # the larger cache keeps what the judge has prepared for its children
        settings = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "SYMPY_CACHE_SIZE": "10000"}
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **settings},
            start_new_session=True,  # Ctrl-C is for the command, which closes the pipe when it ends
        )
        if self._line() != "ready":
            self.process.communicate()  # closes its input, so that it ends
            if self.process.returncode < 0:
                raise BrokenPipeError  # killed by a signal while it started
            raise UserError("answers: math-verify could not be started; reinstall it: pip install 'math-verify>=0.9,<0.10'")

    def ask(self, gold: str, answer: str) -> Reply:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([gold, answer]) + "\n")
        self.process.stdin.flush()
        outcome, seconds = json.loads(self._line())
        return Reply(outcome, seconds)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Guard:
    """Asks a judge that is free. Safe in threads; a forked process gets judges of its own."""

    def __init__(self, processes: int = PROCESSES) -> None:
        self.processes = processes
        self._forget()

    def _forget(self) -> None:
        self.owner = os.getpid()
        self.idle: list[_Judge] = []
        self.slots = threading.BoundedSemaphore(self.processes)

    def ask(self, gold: str, answer: str) -> Reply:
        """Whether math-verify finds that ``answer`` says what ``gold`` says, within its limits."""
        if os.name != "posix":  # no fork, no limits
            return Reply("failed", 0.0)
        if self.owner != os.getpid():
            self._forget()
        with self.slots:
            for _ in range(ATTEMPTS):
                with suppress(BrokenPipeError, json.JSONDecodeError), self._judge() as judge:
                    reply = judge.ask(gold, answer)
                    if reply.outcome != "lost":
                        return reply
        return _LOST

    @contextmanager
    def _judge(self) -> Iterator[_Judge]:
        try:
            judge = self.idle.pop()
        except IndexError:
            judge = _Judge()
        try:
            yield judge
        except BaseException:
            judge.close()
            raise
        self.idle.append(judge)

    def close(self) -> None:
        """End the judges; the next question starts new ones. A forked process has none of its own
        to end until it asks."""
        if self.owner != os.getpid():
            self._forget()
        while self.idle:
            self.idle.pop().close()
