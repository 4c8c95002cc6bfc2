"""math-verify at arm's length: a few judge processes that are started when they are needed and replaced when they die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sent_rl.errors import UserError

PROCESSES = 2
"""Judges of this process; threads share them."""


class _Judge:
    """One judge process."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("judge.py")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the command, which closes the pipe when it ends
        )
        if self._line() != "ready":
            self.close()
            raise UserError("answers: math-verify could not be started; reinstall it: pip install 'math-verify>=0.9,<0.10'")

    def ask(self, gold: str, answer: str) -> bool | None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([gold, answer]) + "\n")
        self.process.stdin.flush()
        said: bool | None = json.loads(self._line())
        return said

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Guard:
    """Asks a judge that is free. Safe in threads; a process that was forked off gets judges of its own."""

    def __init__(self, processes: int = PROCESSES) -> None:
        self.processes = processes
        self._forget()

    def _forget(self) -> None:
        self.owner = os.getpid()
        self.idle: list[_Judge] = []
        self.slots = threading.BoundedSemaphore(self.processes)

    def ask(self, gold: str, answer: str) -> bool | None:
        """Whether math-verify finds that ``answer`` says what ``gold`` says; None where it finds nothing within its limits."""
        if os.name != "posix":  # no fork, no limits
            return None
        if self.owner != os.getpid():
            self._forget()
        with self.slots:
            for _ in range(2):  # a judge may have been killed from outside; of a second one that dies the pair is the cause
                with suppress(BrokenPipeError, json.JSONDecodeError), self._judge() as judge:
                    return judge.ask(gold, answer)
        return None

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
        """End the judges; the next question starts new ones. In a process that was forked off they are not its own to end."""
        if self.owner != os.getpid():
            self._forget()
        while self.idle:
            self.idle.pop().close()
