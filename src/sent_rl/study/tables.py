"""The tables of a study: rows of cells, the first row the heading. All per cent or points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sent_rl.evaluation.comparison import RunEstimate, Scores, run_mean
from sent_rl.report.tables import markdown
from sent_rl.study.power import outlook_rows, seen_by
from sent_rl.study.results import Cell, Comparison, Study


class Table(NamedTuple):
    """``note``: what a reader must know to read the rows."""

    title: str
    note: str
    rows: list[list[str]]


_RESULTS = (
    "Right answers, per cent, ± half of the 95 % interval of the arm's mean over other runs and other "
    "questions. In brackets: 95 % interval of the difference to {baseline}, in points, of each arm by "
    "itself. Entropy: nats per token, mean over the first and the last tenth of the steps."
)
_ONE_RUN = (
    " One run of each arm: a difference between arms cannot be told from one between seeds, so there are no intervals and no p-values."
)
_DIFFERENCES = (
    "{test} over the means of runs; the interval leaves 0 out where p < 0.05. p (Holm): corrected for the number of arms in this table."
)
_F_TESTS = "One-way analysis of variance over the means of runs, all arms. A large p: the arms differ no more than runs of one arm do."
_POWER = (
    "The true difference to {baseline} that 80 % of studies of this size find at the 5 % level, from "
    "the spread of this study's runs: for one comparison alone, and with Holm's correction for all."
)


def results_tables(study: Study) -> list[Table]:
    """The arms, and in a table of their own parts and variants."""
    hidden = [arm for arm in study.arms if arm in study.config.hidden]
    compared = [arm for arm in study.arms if arm not in hidden]
    metrics, note = list(study.scores), _RESULTS.format(baseline=study.config.baseline)
    note += "" if _has_repeats(study) else _ONE_RUN
    tables = [Table("Results", note, overview(study, compared, metrics))]
    if hidden:
        tables.append(Table("Parts and variants", "As above.", parts(study, metrics)))
    return tables


def verdict_tables(study: Study) -> list[Table]:
    """What can be concluded: differences to the baseline, F over all arms, what could be seen.

    Nothing where every arm has one run.
    """
    if not _has_repeats(study):
        return []
    baseline = study.config.baseline
    test = "t test by seed" if study.config.paired else "Welch's t test"
    note = _DIFFERENCES.format(test=test)
    tables = [
        Table(f"{metric}: differences to {baseline}", note, _differences(against))
        for metric in study.compared_metrics
        if (against := study.against_baseline(metric))
    ]
    if len(study.arms) > 1:
        tables.append(Table("Do the arms differ at all?", _F_TESTS, _f_tests(study)))
    outlooks, comparisons = seen_by(study)
    if outlooks:
        rows = outlook_rows(outlooks, comparisons)
        tables.append(Table("What could be seen", _POWER.format(baseline=baseline), rows))
    return tables


def overview(study: Study, arms: Sequence[str], metrics: Sequence[str]) -> list[list[str]]:
    """Arms down; runs, every metric with its difference to the baseline, and entropies across."""
    heading = ["", "runs"]
    for metric in metrics:
        heading += [metric, f"to {study.config.baseline}"]
    base = ["base model", ""]
    for metric in metrics:
        base += [f"{100 * study.base[metric].mean():.1f}", ""]
    against = {metric: study.against_baseline(metric) for metric in metrics}
    rows = [[*heading, "entropy: first", "last"], [*base, "", ""]]
    for arm in arms:
        row = [arm, str(len(study.cells[arm]))]
        for metric in metrics:
            row += [_mean(study.scores[metric][arm]), _brief(against[metric].get(arm))]
        rows.append([*row, *(f"{value:.3f}" for value in _entropies(study.cells[arm]))])
    return rows


def parts(study: Study, metrics: Sequence[str]) -> list[list[str]]:
    """:func:`overview` of the hidden arms, below the baseline."""
    arms = [a for a in study.arms if a == study.config.baseline or a in study.config.hidden]
    return overview(study, arms, metrics)


def summary(study: Study) -> str:
    """What the tests say, in sentences; for a page that shows the tables elsewhere."""
    lines = []
    for metric in study.compared_metrics:
        test, against = study.f_test(metric), study.against_baseline(metric)
        smallest = min((each.holm for each in against.values()), default=math.nan)
        lines.append(
            f"- {metric}: F({test.df}, {test.df_error}) over all arms is {test.f:.2f}, p {test.p:.2f}; "
            f"smallest p of a difference to {study.config.baseline}, Holm-corrected: {smallest:.2f}."
        )
    outlooks, comparisons = seen_by(study)
    for metric, seen in outlooks.items():
        lines.append(
            f"- {metric}: a true difference of {seen.alone:.1f} points is found by 80 % of such studies "
            f"in one comparison, of {seen.corrected:.1f} points with Holm's correction over "
            f"{comparisons}. To find 2 points takes {seen.needed[0]} runs of each arm, with the "
            f"correction {seen.needed[1]}."
        )
    return "\n".join(lines)


def as_markdown(tables: Iterable[Table]) -> str:
    return "\n\n".join(f"## {t.title}\n\n{t.note}\n\n{markdown(t.rows)}" for t in tables) + "\n"


def _has_repeats(study: Study) -> bool:
    return max(map(len, study.cells.values())) > 1


def _differences(against: dict[str, Comparison]) -> list[list[str]]:
    rows = [["arm", "difference, points", "95 % interval", "p", "p (Holm)"]]
    for arm, (found, corrected) in against.items():
        tests = ["", "", ""]
        if found.errors:
            tests = [_ends(found), f"{found.p:.3f}", f"{corrected:.3f}"]
        rows.append([arm, f"{100 * found.value:+.1f}", *tests])
    return rows


def _f_tests(study: Study) -> list[list[str]]:
    rows = [["metric", "F", "degrees of freedom", "p"]]
    for metric in study.compared_metrics:
        test = study.f_test(metric)
        figures = ("-", "-") if math.isnan(test.f) else (f"{test.f:.2f}", f"{test.p:.3f}")
        rows.append([metric, figures[0], f"{test.df}, {test.df_error}", figures[1]])
    return rows


def _mean(scores: Scores) -> str:
    found = run_mean(scores)
    text = f"{100 * found.value:.1f}"
    return f"{text} ± {100 * found.half_width:.1f}" if found.errors else text


def _brief(found: Comparison | None) -> str:
    if found is None:
        return ""
    text = f"{100 * found.difference.value:+.1f}"
    return f"{text} ({_ends(found.difference)})" if found.difference.errors else text


def _ends(found: RunEstimate) -> str:
    low, high = found.interval
    return f"{100 * low:+.1f} to {100 * high:+.1f}"


def _entropies(cells: Sequence[Cell]) -> tuple[float, float]:
    """Mean entropy of the first and of the last tenth of the steps, nats per token."""
    series = [cell["metrics"]["entropy"] for cell in cells]
    tenths = [max(1, len(s) // 10) for s in series]
    first = np.mean([np.mean(s[:n]) for s, n in zip(series, tenths, strict=True)])
    last = np.mean([np.mean(s[-n:]) for s, n in zip(series, tenths, strict=True)])
    return float(first), float(last)
