"""A run directory -> one HTML file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from sent_rl.curriculum import CURRICULUM
from sent_rl.errors import UserError
from sent_rl.evaluation import SAMPLES
from sent_rl.evaluation.estimators import Z_95
from sent_rl.files import read_facts, read_table, write_text
from sent_rl.problems import PROBLEMS
from sent_rl.report.figures import curriculum_histogram, results_bars, training_curves
from sent_rl.report.tables import distinct_metrics, entropy_ends, read_metrics, results_heading

_EXAMPLES = 6


def write_report(folder: Path) -> Path:
    """Write ``report.html`` from what the run directory holds; parts that are not there yet are left out.

    Raises:
        UserError: it is not a run directory, or holds no results of any step.
    """
    if not (folder / "run.yaml").is_file():
        raise UserError(f"{folder}: no run directory (no run.yaml in it)")
    config = yaml.safe_load((folder / "run.yaml").read_text(encoding="utf-8"))
    sections = {**_curriculum(folder), **_training(folder), **_evaluation(folder)}
    if not sections:
        raise UserError(f"{folder}: nothing to report yet; run a step first")
    environment = jinja2.Environment(loader=jinja2.PackageLoader("sent_rl.report"), autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["interval"] = _interval
    page = environment.get_template("page.html").render(
        name=config["name"], config=config, versions=config.get("versions", {}), settings=_settings(config), **_defaults(sections)
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def _defaults(sections: Mapping[str, Any]) -> dict[str, Any]:
    return {"curriculum": None, "training": None, "evaluation": None, **sections}


def _settings(config: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump({k: v for k, v in config.items() if k != "versions"}, sort_keys=False, allow_unicode=True))


def _curriculum(folder: Path) -> dict[str, Any]:
    path = folder / "curriculum.parquet"
    if not path.is_file():
        return {}
    rows = read_table(path, CURRICULUM.names)
    facts = read_facts(path)
    names = ("sizes", "semantic_entropy", "pass_rate")
    stages = [dict(zip(names, column, strict=True)) for column in zip(*(facts[name] for name in names), strict=True)]
    return {"curriculum": {"svg": curriculum_histogram(rows), "stages": stages, "facts": facts, "problems": len(rows)}}


def _training(folder: Path) -> dict[str, Any]:
    metrics = read_metrics(folder / "training" / "metrics.jsonl")
    if not metrics:
        return {}
    start, end = entropy_ends(metrics)
    seconds = sum(m.get("step_time") or 0.0 for m in metrics)
    shares = {
        name: sum(m[f"share/{name}"] for m in metrics) / len(metrics)
        for name in ("low_entropy", "high_covariance")
        if f"share/{name}" in metrics[0]
    }
    return {
        "training": {
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
    }


def _evaluation(folder: Path) -> dict[str, Any]:
    path = folder / "evaluation" / "results.json"
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    problems = {row["id"]: row for row in read_table(path.with_name("problems.parquet"), PROBLEMS.names)}
    examples = _examples(read_table(path.with_name("samples.parquet"), SAMPLES.names), problems)
    return {
        "evaluation": {
            "svg": results_bars(found),
            "found": found,
            "heading": results_heading(found),
            "metrics": distinct_metrics(found),
            "examples": examples,
        }
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


def _interval(value: Mapping[str, float | None], signed: bool = False) -> str:
    number, stderr = value["value"], value["stderr"]
    text = f"{number:{'+' if signed else ''}.3f}"
    return text if stderr is None else f"{text} ± {Z_95 * stderr:.3f}"
