"""What a person sees on the terminal while something runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# One voice where several processes train together; what a user calls things is no markup.
console = Console(highlight=False, soft_wrap=True, markup=False, quiet=os.environ.get("RANK", "0") != "0")


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar with counts and times; yields the function that advances it."""
    texts = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*texts, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)


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
