"""A run in numbers, as text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sent_rl.evaluation import Estimate
from sent_rl.files import read_json_lines


def summary(folder: Path) -> list[str]:
    """The last lines of a run: base against trained, with 95 % intervals, and the entropy at start and end."""
    found = json.loads((folder / "evaluation" / "results.json").read_text(encoding="utf-8"))
    lines = [results_heading(found), *results_lines(found)]
    metrics = read_metrics(folder / "training" / "metrics.jsonl")
    if metrics:
        start, end = entropy_ends(metrics)
        lines.append(f"entropy: {start:.4f} nats a token in the first steps, {end:.4f} in the last")
    return lines


def results_heading(found: Mapping[str, Any]) -> str:
    return f"{found['problems']} held-out problems, {found['n']} samples each; +- is half of a 95 % interval over problems"


def results_lines(found: Mapping[str, Any]) -> list[str]:
    """A text table of results.json: metrics down, models across."""

    def cell(value: Mapping[str, Any], sign: str = "") -> str:
        half = Estimate(value["value"], value["stderr"] if value["stderr"] is not None else math.nan).half_width
        return f"{value['value']:{sign}.3f} +- {half:.3f}"

    columns = {**found["models"], **found["differences"]}
    lines = [f"{'':10}" + "".join(f"{name:>20}" for name in columns)]
    for metric in distinct_metrics(found):
        cells = (cell(values[metric], "+" if name in found["differences"] else "") for name, values in columns.items())
        lines.append(f"{metric:10}" + "".join(f"{text:>20}" for text in cells))
    return lines


def distinct_metrics(found: Mapping[str, Any]) -> list[str]:
    """The metrics worth a row: avg@K is one estimate for every K (and pass@1 the same), so only the largest K stands for it."""
    metrics = list(next(iter(found["models"].values())))
    averages = [m for m in metrics if m.startswith("avg@")]
    return [averages[-1], *(m for m in metrics if m.startswith("pass@") and m != "pass@1")]


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first the heading, as a Markdown table."""
    heading, *rows = table
    return "\n".join("| " + " | ".join(row) + " |" for row in (heading, ["---"] * len(heading), *rows))


def aligned(table: Sequence[Sequence[str]]) -> str:
    """The same for a terminal."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    pad = [str.ljust if i == 0 else str.rjust for i in range(len(widths))]
    return "\n".join("  ".join(p(cell, w) for p, cell, w in zip(pad, row, widths, strict=True)).rstrip() for row in table) + "\n"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; none where there is no such file."""
    return read_json_lines(path)


def entropy_ends(metrics: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Mean entropy of the first and the last tenth of the steps, nats a token."""
    entropies = [m["entropy"] for m in metrics]
    tenth = max(1, len(entropies) // 10)
    return sum(entropies[:tenth]) / tenth, sum(entropies[-tenth:]) / tenth
