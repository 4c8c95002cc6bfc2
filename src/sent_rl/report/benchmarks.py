"""Results on several benchmarks -> results.json over all of them, and the table of a paper as Markdown, LaTeX and HTML."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sent_rl.errors import UserError
from sent_rl.evaluation.benchmarks import BENCHMARKS
from sent_rl.evaluation.estimators import Z_95
from sent_rl.evaluation.paper import paper_arm
from sent_rl.files import write_json, write_text
from sent_rl.report.sections import evaluation, render
from sent_rl.report.tables import distinct_metrics, markdown, terminal_table

_NOTE = (
    "Per cent; +- is half of a 95 % interval over questions (over groups of questions where they share a text, as in Minerva). "
    "All K of a row's benchmark come from one set of samples: Pass@K is the unbiased estimate, Avg@K the mean over all samples."
)
_PAPER_NOTE = "Paper: arXiv 2512.04359, tables I and II, the 1.5 B model; one run, no error bars, each K sampled for itself."


def write_benchmarks(folder: Path, names: Sequence[str], paper: Sequence[str] = ()) -> dict[str, Any]:
    """Gather the results below ``folder``; write results.json and the table as text, Markdown, LaTeX and HTML.

    Args:
        paper: arms of the paper's tables to show beside.

    Returns:
        The content of results.json: ``benchmarks``: name -> what is in its own results.json; ``models`` and ``differences``: the
        unweighted means over the benchmarks, with standard errors.

    Raises:
        UserError: a benchmark has no results yet.
    """
    gathered = _gathered(folder, names)
    found = gathered["benchmarks"]
    write_json(folder / "results.json", gathered)
    table = benchmark_table(gathered, paper)
    notes = [_NOTE, *([_PAPER_NOTE] if paper else [])]
    write_text(folder / "table.md", markdown(table) + "\n\n" + "\n".join(notes) + "\n\n" + markdown(_rates_table(found)) + "\n")
    write_text(folder / "table.txt", "\n".join(terminal_table(table, gathered, fixed=4)) + "\n")
    write_text(folder / "table.tex", latex(table, notes))
    page = render("benchmarks.html", table=table, rates=_rates_table(found), notes=notes, parts={})
    write_text(folder / "table.html", page)
    return gathered


def benchmarks_page(folder: Path, names: Sequence[str]) -> str:
    """The table over the benchmarks in ``folder``, and of each its numbers and some responses, as HTML."""
    gathered = _gathered(folder, names)
    parts = {BENCHMARKS[name].title: evaluation(folder / name) for name in names}
    rates = _rates_table(gathered["benchmarks"])
    return render("benchmarks.html", table=benchmark_table(gathered), rates=rates, notes=[_NOTE], parts=parts)


def _gathered(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    found = {name: _results(folder / name / "results.json") for name in names}
    return {"benchmarks": found, **{part: _averages(found, part) for part in ("models", "differences")}}


def _results(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such results; evaluate that benchmark first")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _averages(found: Mapping[str, Mapping[str, Any]], part: str) -> dict[str, dict[str, dict[str, float | None]]]:
    """Unweighted means over the benchmarks; benchmarks are independent, so their variances add up."""
    first = next(iter(found.values()))
    averages: dict[str, dict[str, dict[str, float | None]]] = {}
    for model, metrics in first[part].items():
        averages[model] = {}
        for metric in metrics:
            cells = [results[part][model][metric] for results in found.values()]
            errors = [cell["stderr"] for cell in cells]
            stderr = None if None in errors else math.sqrt(sum(e * e for e in errors)) / len(cells)
            averages[model][metric] = {"value": sum(cell["value"] for cell in cells) / len(cells), "stderr": stderr}
    return averages


def benchmark_table(gathered: Mapping[str, Any], paper: Sequence[str] = ()) -> list[list[str]]:
    """Rows of cells, the first the heading: benchmarks and their metrics down, models, differences and the paper's arms across."""
    found = gathered["benchmarks"]
    columns = [*gathered["models"], *gathered["differences"]]
    table = [["benchmark", "problems", "n", "metric", *columns, *(f"paper: {arm}" for arm in paper)]]
    blocks = [([BENCHMARKS[name].title, str(results["problems"]), str(results["n"])], results) for name, results in found.items()]
    if len(found) > 1:
        blocks.append((["average", "", ""], gathered))
    for heading, results in blocks:
        values = {**results["models"], **results["differences"]}
        for row, metric in enumerate(distinct_metrics(results)):
            cells = [_cell(values[column][metric], signed=column in results["differences"]) for column in columns]
            cells += [_of_paper(arm, heading[0], metric) for arm in paper]
            table.append([*(heading if row == 0 else ["", "", ""]), metric, *cells])
    return table


def _cell(value: Mapping[str, float | None], signed: bool) -> str:
    half = "" if value["stderr"] is None else f" +- {100 * Z_95 * value['stderr']:.1f}"
    return f"{100 * (value['value'] or 0):{'+' if signed else ''}.1f}{half}"


def _of_paper(arm: str, title: str, metric: str) -> str:
    value = paper_arm(arm).get((title, metric))
    return "" if value is None else f"{value:.1f}"


def _rates_table(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    table = [["benchmark", "model", "tokens a response", "truncated", "without an answer", "without a verdict"]]
    for name, results in found.items():
        for model, rates in results["rates"].items():
            shares = [f"{100 * rates[key]:.1f} %" for key in ("truncated", "unparsed", "no_verdict")]
            reasons = results.get("no_verdict", {}).get(model)
            shares[-1] += f" ({', '.join(f'{reason}: {n}' for reason, n in reasons.items())})" if reasons else ""
            tokens = "-" if rates["mean_tokens"] is None else f"{rates['mean_tokens']:.0f}"
            table.append([BENCHMARKS[name].title, model, tokens, *shares])
    return table


def latex(table: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """A booktabs table; a rule before every benchmark."""
    heading, *rows = table
    lines = ["% needs \\usepackage{booktabs}", f"\\begin{{tabular}}{{l{'r' * (len(heading) - 1)}}}", "\\toprule"]
    lines += [" & ".join(map(_escaped, heading)) + " \\\\"]
    for row in rows:
        lines += ["\\midrule"] if row[0] else []
        lines.append(" & ".join(map(_escaped, row)) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", *(f"% {note}" for note in notes), ""])


def _escaped(text: str) -> str:
    for character in "\\&%#_{}$":
        text = text.replace(character, "\\textbackslash " if character == "\\" else f"\\{character}")
    return text.replace("+-", "$\\pm$")
