"""A study's files: the table of all verdicts, tables, pictures, and one page with all of it."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pyarrow as pa

from sent_rl.files import write_table, write_text
from sent_rl.report.figures import forest, spread_curves
from sent_rl.study.config import StudyConfig
from sent_rl.study.results import Study, collect_cells
from sent_rl.study.tables import as_markdown, results_tables, verdict_tables

RESULTS = pa.schema({"arm": pa.string(), "seed": pa.int64(), "question": pa.int64(), "correct": pa.int64(), "n": pa.int64()})
"""One row for each cell and test question: ``correct`` of ``n`` samples."""

_CURVES = {"entropy": "entropy, nats a token", "reward": "reward", "kl": "KL to the reference, nats a token"}


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
    results, tests, plots = results_tables(study), verdict_tables(study), _plots(study)
    for name, svg in plots.items():
        write_text(folder / f"{name}.svg", f'<?xml version="1.0" encoding="utf-8"?>\n{svg}')
    write_text(folder / "table.md", as_markdown([*results, *tests]))
    environment = jinja2.Environment(loader=jinja2.PackageLoader("sent_rl.report"), autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.get_template("study.html").render(
        study=config, results=results, tests=tests, plots=plots,
        cells=sum(map(len, study.cells.values())), wanted=len(config.cells()),
        questions=study.questions, hours=sum(c["seconds"] for cells in study.cells.values() for c in cells) / 3600,
    )  # fmt: skip
    write_text(folder / "study.html", page)
    return folder / "study.html"


def _plots(study: Study) -> dict[str, str]:
    """File name -> SVG."""
    plots: dict[str, str] = {}
    for key, label in _CURVES.items():
        series = {arm: [c["metrics"][key] for c in cells if key in c["metrics"]] for arm, cells in study.cells.items()}
        series = {arm: runs for arm, runs in series.items() if runs}
        if series:
            plots[key] = spread_curves(series, label, study.config.baseline)
    baseline = study.config.baseline
    for metric in study.compared_metrics:
        against = {a: c for a, c in study.against_baseline(metric).items() if c.difference.errors}
        if against:
            name = f"{metric.replace('@', '_at_')}_to_{baseline}"
            plots[name] = forest(against, f"{metric}: points above {baseline}")
    return plots
