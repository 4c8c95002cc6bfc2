"""What a person sees on the terminal, or finds in a log file, while something runs."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# One voice where several processes train together; what a user calls things is no markup.
console = Console(highlight=False, soft_wrap=True, markup=False, quiet=os.environ.get("RANK", "0") != "0")

LINE_EVERY = 10.0
"""Seconds between two lines of progress where the output is no terminal."""
_STEPS_TO_AVERAGE = 32


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows how far something has come: a bar on a terminal, now and then a line elsewhere.

    Yields:
        The function that advances it by a count. Its first call counts what an earlier run had done.
    """
    if console.is_terminal and not console.is_dumb_terminal:
        with _bar(label, total) as advance:
            yield advance
        return
    lines = ProgressLines(label, total)
    yield lines.advance
    lines.end()


@contextmanager
def _bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    texts = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*texts, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task, first = bar.add_task(label, total=total), True

        def advance(count: int) -> None:
            nonlocal first
            if first and count:
                console.print(_going_on(label, count, total))
                bar.reset(task, completed=count)  # so that it counts for no speed
            else:
                bar.advance(task, count)
            first = False

        yield advance


def _going_on(label: str, done: int, total: int) -> str:
    return f"{label}: goes on at {done} of {total}"


class ProgressLines:
    """Progress in a log file: a line at once, further ones at most every ``LINE_EVERY`` seconds, and one at the end."""

    def __init__(self, label: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.label, self.total, self._clock = label, total, clock
        self.done, self.done_before = 0, -1
        self._begun = self._said = clock()
        self._said_done = 0
        console.print(f"{label}: 0 of {total}")

    def advance(self, count: int) -> None:
        self.done += count
        if self.done_before < 0:
            self.done_before, self._begun = count, self._clock()
            if count:
                self._say(_going_on(self.label, count, self.total))
        elif self._clock() - self._said >= LINE_EVERY:
            self._say(f"{self.label}: {self.done} of {self.total}, {self._times()}")

    def end(self) -> None:
        if self.done != self._said_done:
            self._say(f"{self.label}: {self.done} of {self.total}, {clock_time(self._clock() - self._begun)}")

    def _say(self, line: str) -> None:
        self._said, self._said_done = self._clock(), self.done
        console.print(line)

    def _times(self) -> str:
        """The time since the beginning, and the time left at the speed so far."""
        passed = self._clock() - self._begun
        left = passed / max(1, self.done - self.done_before) * (self.total - self.done)
        return f"{clock_time(passed)}, {clock_time(left)} left"


def clock_time(seconds: float) -> str:
    """Hours, minutes and seconds: ``0:01:30``."""
    return str(timedelta(seconds=round(seconds)))


class StepLines:
    """Prints one line per training step, with the seconds per step and the time left."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_STEPS_TO_AVERAGE)

    def __call__(self, metrics: Mapping[str, Any], steps: int) -> None:
        line = step_line(metrics, steps)
        if metrics.get("step_time"):
            self._seconds.append(metrics["step_time"])
            mean = sum(self._seconds) / len(self._seconds)
            line += f"  {mean:.3g} s/step  {clock_time(mean * (steps - metrics['step']))} left"
        console.print(line)


def step_line(metrics: Mapping[str, Any], steps: int) -> str:
    """One training step in one line."""

    def number(key: str, form: str) -> str:
        value = metrics.get(key)
        return "-" if value is None else format(value, form)

    seconds = metrics.get("step_time") or 0.0
    speed = f"{metrics['tokens'] / seconds:,.0f}" if seconds and metrics.get("tokens") else "-"
    return (
        f"step {metrics['step']:>{len(str(steps))}}/{steps}  stage {metrics['stage']}  reward {number('reward', '.3f')}"
        f"  entropy {number('entropy', '.4f')}  low {number('share/low_entropy', '.1%')}"
        f"  high-cov {number('share/high_covariance', '.2%')}  kl {number('kl', '.4f')}"
        f"  no spread {number('frac_reward_zero_std', '.0%')}  {speed} tok/s"
    )
