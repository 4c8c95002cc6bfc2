"""A run in numbers, as text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sent_rl.evaluation import Estimate
from sent_rl.files import read_json_lines

TERMINAL = 80
"""Columns of the terminal that tables are made for."""
_LONGEST_HEADING = 24
_GAP = "  "


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
    return f"{found['problems']} held-out problems, {found['n']} samples each; +- is half of a 95 % interval"


def results_lines(found: Mapping[str, Any]) -> list[str]:
    """A text table of results.json: metrics down, models across."""

    def cell(value: Mapping[str, Any], sign: str = "") -> str:
        half = Estimate(value["value"], value["stderr"] if value["stderr"] is not None else math.nan).half_width
        return f"{value['value']:{sign}.3f} +- {half:.3f}"

    columns = {**found["models"], **found["differences"]}
    table = [["", *columns]]
    for metric in distinct_metrics(found):
        cells = (cell(values[metric], "+" if name in found["differences"] else "") for name, values in columns.items())
        table.append([metric, *cells])
    return terminal_table(table, found)


def terminal_table(table: Sequence[Sequence[str]], found: Mapping[str, Any], fixed: int = 1) -> list[str]:
    """A table of results for a terminal, however long the models' names are.

    Args:
        table: rows of cells, the first the heading.
        found: what has the ``models`` and ``differences`` that the heading names.
        fixed: columns that stand before those of the models.
    """
    short = _numbered(list(found["models"]), list(found["differences"]))
    lines = [f"{short[name]} {name}" for name in found["models"] if name in short]
    heading = [short.get(name, name) for name in table[0]]
    return [*lines, *fitted([heading, *table[1:]], fixed)]


def _numbered(models: Sequence[str], differences: Sequence[str]) -> dict[str, str]:
    """``[1]``, ``[2] - [1]`` and so on, to stand for names of which one is too long for a heading."""
    if all(len(name) <= _LONGEST_HEADING for name in (*models, *differences)):
        return {}
    numbers = {name: f"[{number}]" for number, name in enumerate(models, 1)}
    return numbers | {pair: f"{numbers[model]} - [1]" for pair, model in zip(differences, models[1:], strict=True)}


def distinct_metrics(found: Mapping[str, Any]) -> list[str]:
    """The metrics worth a row: avg@K is one estimate for every K (and pass@1 the same), so only the largest K stands for it."""
    metrics = list(next(iter(found["models"].values())))
    averages = [m for m in metrics if m.startswith("avg@")]
    return [averages[-1], *(m for m in metrics if m.startswith("pass@") and m != "pass@1")]


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first the heading, as a Markdown table."""
    heading, *rows = table
    return "\n".join("| " + " | ".join(row) + " |" for row in (heading, ["---"] * len(heading), *rows))


def fitted(table: Sequence[Sequence[str]], fixed: int = 1, width: int = TERMINAL) -> list[str]:
    """The same for a terminal: every column as wide as its content.

    Columns that do not fit into ``width`` go into further tables below, each of which begins with the first ``fixed`` columns again.
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    room = width - sum(widths[:fixed]) - len(_GAP) * (fixed - 1)
    blocks: list[list[int]] = [[]]
    for column in range(fixed, len(widths)):
        if blocks[-1] and sum(widths[i] + len(_GAP) for i in (*blocks[-1], column)) > room:
            blocks.append([])
        blocks[-1].append(column)
    lines: list[str] = []
    for block in blocks:
        lines += [""] if lines else []
        lines += [_line(row, [*range(fixed), *block], widths) for row in table]
    return lines


def _line(row: Sequence[str], columns: Sequence[int], widths: Sequence[int]) -> str:
    first, *rest = columns
    return _GAP.join([row[first].ljust(widths[first]), *(row[i].rjust(widths[i]) for i in rest)]).rstrip()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; none where there is no such file."""
    return read_json_lines(path)


def entropy_ends(metrics: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Mean entropy of the first and the last tenth of the steps, nats a token."""
    entropies = [m["entropy"] for m in metrics]
    tenth = max(1, len(entropies) // 10)
    return sum(entropies[:tenth]) / tenth, sum(entropies[-tenth:]) / tenth
