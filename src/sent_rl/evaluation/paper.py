"""The paper's own results (arXiv 2512.04359, tables I and II, the 1.5 B model), to stand beside what is measured here.

One training run a method, no error bars, each K sampled for itself; its average is over benchmarks and K.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

from sent_rl.errors import UserError, nearest

_TABLES = ("table1_pass_at_k.csv", "table2_avg_at_k.csv")


@cache
def paper_results() -> dict[str, dict[tuple[str, str], float]]:
    """Arm (base, grpo, en, adv, mask, clip, cov, high_en, sent) -> (benchmark's title, metric) -> per cent."""
    found: dict[str, dict[tuple[str, str], float]] = {}
    for table in _TABLES:
        text = (resources.files("sent_rl.evaluation") / "paper_tables" / table).read_text(encoding="utf-8")
        for row in csv.DictReader(text.splitlines()):
            place = (row.pop("benchmark"), row.pop("metric"))
            if place[0] == "Average":
                place = ("average", "pass@8, 16, 32" if table == _TABLES[0] else "avg@8, 16, 32")
            for arm, value in row.items():
                found.setdefault(arm, {})[place] = float(value)
    return found


def paper_arm(name: str) -> dict[tuple[str, str], float]:
    """The results of one arm.

    Raises:
        UserError: the paper has no such arm.
    """
    if name not in paper_results():
        raise UserError(f"--paper {name}: {nearest(name, paper_results())}")
    return paper_results()[name]
