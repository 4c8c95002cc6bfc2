"""The cells of a study -> one table of results, comparisons with intervals, curves, and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa

from sent_rl.errors import UserError
from sent_rl.evaluation import avg_at_k, pass_at_k
from sent_rl.evaluation.comparison import Difference, Scores, difference, holm, interval
from sent_rl.files import write_table, write_text
from sent_rl.report.figures import forest, spread_curves
from sent_rl.report.tables import markdown
from sent_rl.study.config import StudyConfig

RESULTS = pa.schema({"arm": pa.string(), "seed": pa.int64(), "question": pa.int64(), "correct": pa.int64(), "n": pa.int64()})
"""One row for each cell and test question: ``correct`` of ``n`` samples."""

_CURVES = {"entropy": "entropy, nats a token", "reward": "reward", "kl": "KL to the reference, nats a token"}


@dataclass
class Study:
    """What the finished cells of a study say. ``scores[metric][arm]`` is (seeds, questions); ``base[metric]`` (1, questions)."""

    config: StudyConfig
    cells: dict[str, list[dict[str, Any]]]
    scores: dict[str, dict[str, Scores]]
    base: dict[str, Scores]

    @property
    def arms(self) -> list[str]:
        return list(self.cells)

    @property
    def questions(self) -> int:
        return int(next(iter(self.base.values())).shape[1])

    def against(self, metric: str, other: str | None) -> dict[str, tuple[str, Difference]]:
        """Every arm's difference to ``other``, or with None to the best rival: arm -> (the other's name, difference).

        P-values are Holm's, over all arms of this table.
        """
        of = self.scores[metric]
        found: dict[str, tuple[str, Difference]] = {}
        for arm in self.arms:
            rivals = [a for a in self.arms if a != arm and a not in self.config.hidden]
            name = other if other is not None else max(rivals, key=lambda a: of[a].mean(), default=arm)
            if name != arm and name in of:
                found[arm] = (name, difference(of[arm], of[name]))
        adjusted = holm({arm: d.p for arm, (_, d) in found.items()})
        return {arm: (name, d._replace(p=adjusted[arm])) for arm, (name, d) in found.items()}


def collect_cells(config: StudyConfig, folder: Path) -> Study:
    """Read the finished cells of a study.

    Raises:
        UserError: there is none yet.
    """
    cells: dict[str, list[dict[str, Any]]] = {}
    for arm in config.arms:
        paths = [folder / "cells" / arm / f"seed-{seed}" / "cell.json" for seed in config.seeds]
        done = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
        if done:
            cells[arm] = done
    if not cells or not (folder / "base.json").is_file():
        raise UserError(f"{folder}: no finished cell of study {config.name!r} yet")
    base = json.loads((folder / "base.json").read_text(encoding="utf-8"))
    ks = config.base().evaluate.k
    metrics = [f"avg@{max(ks)}", *(f"pass@{k}" for k in ks if k > 1)]
    scores = {m: {arm: np.stack([_score(m, c) for c in done]) for arm, done in cells.items()} for m in metrics}
    return Study(config, cells, scores, {m: _score(m, base)[None] for m in metrics})


def _score(metric: str, cell: dict[str, Any]) -> Scores:
    kind, _, k = metric.partition("@")
    return avg_at_k(cell["n"], cell["correct"]) if kind == "avg" else pass_at_k(cell["n"], cell["correct"], int(k))


def write_study(config: StudyConfig, folder: Path) -> Path:
    """Write results.parquet, table.md, the plots and study.html from the finished cells; returns the page."""
    study = collect_cells(config, folder)
    rows = [
        {"arm": arm, "seed": cell["seed"], "question": q, "correct": c, "n": cell["n"]}
        for arm, cells in study.cells.items()
        for cell in cells
        for q, c in enumerate(cell["correct"])
    ]
    write_table(folder / "results.parquet", rows, RESULTS, {"study": config.name})
    tables = _tables(study)
    plots = _plots(study)
    for name, svg in plots.items():
        write_text(folder / f"{name}.svg", f'<?xml version="1.0" encoding="utf-8"?>\n{svg}')
    write_text(folder / "table.md", "\n\n".join(f"{title}\n\n{markdown(table)}" for title, table in tables.items()) + "\n")
    environment = jinja2.Environment(loader=jinja2.PackageLoader("sent_rl.report"), autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.get_template("study.html").render(
        study=config, tables=tables, plots=plots, cells=sum(map(len, study.cells.values())), wanted=len(config.cells()),
        questions=study.questions, hours=sum(c["seconds"] for cells in study.cells.values() for c in cells) / 3600,
    )  # fmt: skip
    write_text(folder / "study.html", page)
    return folder / "study.html"


def _tables(study: Study) -> dict[str, list[list[str]]]:
    """Title -> rows of cells, the first row the heading."""
    metrics, hidden = list(study.scores), study.config.hidden
    compared = [arm for arm in study.arms if arm not in hidden]
    tables = {"Right answers, per cent, +- half of the 95 % interval (seeds and questions resampled)": _results(study, compared)}
    if set(hidden) & set(study.arms):
        baseline = [arm for arm in study.arms if arm == study.config.baseline]
        tables["The same of parts and variants"] = _results(study, [*baseline, *(arm for arm in study.arms if arm in hidden)])
    for metric in dict.fromkeys((metrics[0], metrics[-1])):
        for other in (study.config.baseline, None):
            against = study.against(metric, other)
            name = f"to {other}" if other else "to the best other arm"
            rows = [["arm", "other", "difference, points", "95 % interval", "p (sign flips, Holm)"]]
            rows += [
                [arm, b, f"{100 * d.value:+.1f}", f"{100 * d.low:+.1f} to {100 * d.high:+.1f}", f"{d.p:.3f}"]
                for arm, (b, d) in against.items()
            ]
            tables[f"{metric}: paired differences {name}"] = rows
    return tables


def _results(study: Study, arms: Sequence[str]) -> list[list[str]]:
    """Arms as columns; results and entropies as rows."""
    rows = [["", "base model", *arms], ["seeds", "", *(str(len(study.cells[arm])) for arm in arms)]]
    rows += [[m, f"{100 * study.base[m].mean():.1f}", *(_with_interval(of[arm]) for arm in arms)] for m, of in study.scores.items()]
    ends = [np.array([_ends(cell["metrics"]["entropy"]) for cell in study.cells[arm]]).mean(0) for arm in arms]
    rows += [[f"entropy, {part} tenth", "", *(f"{pair[i]:.3f}" for pair in ends)] for i, part in enumerate(("first", "last"))]
    return rows


def _with_interval(scores: Scores) -> str:
    low, high = interval(scores)
    return f"{100 * scores.mean():.1f} +- {50 * (high - low):.1f}"


def _ends(series: Sequence[float]) -> tuple[float, float]:
    tenth = max(1, len(series) // 10)
    return float(np.mean(series[:tenth])), float(np.mean(series[-tenth:]))


def _plots(study: Study) -> dict[str, str]:
    """File name -> SVG."""
    plots, metrics = {}, list(study.scores)
    for key, label in _CURVES.items():
        series = {arm: [c["metrics"][key] for c in cells if key in c["metrics"]] for arm, cells in study.cells.items()}
        series = {arm: runs for arm, runs in series.items() if runs}
        if series:
            plots[key] = spread_curves(series, label, study.config.baseline)
    for metric in dict.fromkeys((metrics[0], metrics[-1])):
        against = study.against(metric, study.config.baseline)
        if against:
            name = f"{metric.replace('@', '_at_')}_to_{study.config.baseline}"
            plots[name] = forest({arm: d for arm, (_, d) in against.items()}, f"{metric}: points above {study.config.baseline}")
    return plots
