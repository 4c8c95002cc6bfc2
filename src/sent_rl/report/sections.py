"""What a page shows of each step, read from the step's files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from sent_rl.curriculum import CURRICULUM
from sent_rl.evaluation import SAMPLES
from sent_rl.evaluation.estimators import Z_95
from sent_rl.files import read_facts, read_table
from sent_rl.problems import PROBLEMS
from sent_rl.report.tables import distinct_metrics, entropy_ends, read_metrics, results_heading

_EXAMPLES = 6

Section = dict[str, Any]


def render(template: str, **values: Any) -> str:
    """A page from one of the templates; what a model or a file says is escaped."""
    environment = jinja2.Environment(loader=jinja2.PackageLoader("sent_rl.report"), autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["interval"] = _interval
    return environment.get_template(template).render(**values)


def _interval(value: Mapping[str, float | None], signed: bool = False) -> str:
    number, stderr = value["value"], value["stderr"]
    text = f"{number:{'+' if signed else ''}.3f}"
    return text if stderr is None else f"{text} ± {Z_95 * stderr:.3f}"


def curriculum(path: Path) -> Section | None:
    """Of a curriculum.parquet; None where there is none."""
    if not path.is_file():
        return None
    from sent_rl.report.figures import curriculum_histogram  # matplotlib takes a second to import: only for a page

    rows = read_table(path, CURRICULUM.names)
    facts = read_facts(path)
    names = ("sizes", "semantic_entropy", "pass_rate")
    stages = [dict(zip(names, column, strict=True)) for column in zip(*(facts[name] for name in names), strict=True)]
    return {"svg": curriculum_histogram(rows), "stages": stages, "facts": facts, "problems": len(rows)}


def training(folder: Path) -> Section | None:
    """Of a folder with a metrics.jsonl; None where no step was taken."""
    metrics = read_metrics(folder / "metrics.jsonl")
    if not metrics:
        return None
    from sent_rl.report.figures import training_curves

    start, end = entropy_ends(metrics)
    seconds = sum(m.get("step_time") or 0.0 for m in metrics)
    shares = {
        name: sum(m[f"share/{name}"] for m in metrics) / len(metrics)
        for name in ("low_entropy", "high_covariance")
        if f"share/{name}" in metrics[0]
    }
    return {
        "svg": training_curves(metrics),
        "steps": len(metrics),
        "entropy_start": start,
        "entropy_end": end,
        "reward_start": metrics[0]["reward"],
        "reward_end": metrics[-1]["reward"],
        "seconds": seconds,
        "shares": shares,
        "without_spread": [m["frac_reward_zero_std"] for m in metrics if "frac_reward_zero_std" in m],
    }


def evaluation(folder: Path) -> Section | None:
    """Of a folder with results.json, problems.parquet and samples.parquet; None where there are no results yet."""
    path = folder / "results.json"
    if not path.is_file():
        return None
    from sent_rl.report.figures import results_bars

    found = json.loads(path.read_text(encoding="utf-8"))
    problems = {row["id"]: row for row in read_table(path.with_name("problems.parquet"), PROBLEMS.names)}
    examples = _examples(read_table(path.with_name("samples.parquet"), SAMPLES.names), problems)
    return {
        "svg": results_bars(found),
        "found": found,
        "heading": results_heading(found),
        "metrics": distinct_metrics(found),
        "examples": examples,
    }


def _examples(samples: Sequence[Mapping[str, Any]], problems: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first response of each model to a few problems, spread over the set."""
    firsts = [row for row in samples if row["sample"] == 0]
    questions = list(dict.fromkeys(row["problem"] for row in firsts))
    chosen = questions[:: max(1, len(questions) // _EXAMPLES)][:_EXAMPLES]
    return [
        {
            "problem": problems[question]["prompt"],
            "gold": problems[question]["answer"],
            "responses": [row for row in firsts if row["problem"] == question],
        }
        for question in chosen
    ]
