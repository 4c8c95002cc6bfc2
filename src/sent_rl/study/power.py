"""What a study can see: the smallest difference between two arms that it would find."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sent_rl.errors import UserError
from sent_rl.evaluation.power import Spread, detectable, runs_needed, spread
from sent_rl.report.tables import aligned
from sent_rl.study.config import StudyConfig
from sent_rl.study.results import Cell, Study, metrics_of, read_cells, scores_of

ARITHMETIC = {"avg": Spread(0.0229, 0.209), "pass": Spread(0.0113, 0.194)}
"""Spread of Avg@16 and Pass@16 in docs/study/arithmetic: what is reckoned with before any run."""

_EXAMPLE = 2.0  # points
_ENOUGH = 10  # degrees of freedom below which a spread is itself uncertain


class Outlook(NamedTuple):
    """What a study can see in one metric, in points. ``alone``: one comparison; ``corrected``: with
    Holm's correction. ``needed``: runs of each arm to see 2 points, alone and corrected."""

    deviation: float
    alone: float
    corrected: float
    needed: tuple[int | None, int | None]


def outlook(found: Spread, questions: int, runs: int, comparisons: int, *, paired: bool = False) -> Outlook:
    """Reckoned from the spread of runs; ``runs`` of each arm, ``comparisons`` with the baseline.

    Of pairing it counts the cost in degrees of freedom, and no gain from seeds in common.
    """
    deviation = 100 * found.of_mean(questions)
    alone, corrected = (detectable(deviation, runs, c, paired=paired) for c in (1, comparisons))
    one, many = (runs_needed(_EXAMPLE, deviation, c, paired=paired) for c in (1, comparisons))
    return Outlook(deviation, alone, corrected, (one, many))


def outlook_rows(outlooks: Mapping[str, Outlook], comparisons: int) -> list[list[str]]:
    """Metric -> a row of cells, the first row the heading; Holm's columns where he has a say."""
    example = f"runs for {_EXAMPLE:.0f} points"
    rows = [["points", "spread of runs", "detectable", example]]
    rows += [[m, f"{o.deviation:.2f}", _points(o.alone), _runs(o.needed[0])] for m, o in outlooks.items()]
    if comparisons > 1:
        rows[0] += [f"detectable, Holm over {comparisons}", f"{example}, Holm"]
        for row, each in zip(rows[1:], outlooks.values(), strict=True):
            row += [_points(each.corrected), _runs(each.needed[1])]
    return rows


def seen_by(study: Study) -> tuple[dict[str, Outlook], int]:
    """What a study's own runs could see, and the number of comparisons; nothing of single runs."""
    runs = min(map(len, study.cells.values()))
    comparisons = max(1, len(study.arms) - 1)
    found: dict[str, Outlook] = {}
    for metric in study.compared_metrics:
        measured = spread(study.scores[metric].values())
        if measured is not None and measured.of_mean(study.questions) > 0:
            found[metric] = outlook(measured, study.questions, runs, comparisons, paired=study.config.paired)
    return found, comparisons


def forecast(config: StudyConfig, folder: Path, pilot: Path | None = None) -> str:
    """What the study will be able to see, for the terminal, before its first cell.

    The spread of runs is that of ``pilot``'s cells, else of the cells that ``folder`` has, else
    that of the study in the docs.

    Raises:
        UserError: ``pilot`` has no arm with two runs, or too few samples a question.
    """
    metrics = list(dict.fromkeys((metrics_of(config)[0], metrics_of(config)[-1])))
    spreads, source = _spreads(metrics, folder, pilot)
    questions, runs = len(config.base().problems.test.load()), len(config.seeds)
    comparisons = max(1, len(config.arms) - 1)
    outlooks = {m: outlook(spreads[m], questions, runs, comparisons, paired=config.paired) for m in metrics}
    lines = [
        f"What this study can see with {_count(runs, 'run')} of each arm and {questions} test "
        f"questions: differences to {config.baseline} that 80 % of such studies find at the 5 % "
        "level.",
        aligned(outlook_rows(outlooks, comparisons)).rstrip(),
        f"The spread of runs is that of {source}.",
    ]
    if runs < 2:
        lines.append(
            "With one run of each arm, a difference between arms cannot be told from one between "
            "seeds: no intervals, no p-values. Use two seeds at the very least."
        )
    return "\n".join(lines)


def _spreads(metrics: list[str], folder: Path, pilot: Path | None) -> tuple[dict[str, Spread], str]:
    """Metric -> spread of runs, and where it is from."""
    cells = _repeated(pilot or folder)
    if not cells:
        if pilot is not None:
            raise UserError(f"--pilot {pilot}: no arm with two finished runs; run it with two seeds")
        return {m: ARITHMETIC[m.partition("@")[0]] for m in metrics}, (
            "the study in docs/studies.md (a 0.8 M parameter model, arithmetic), for want of runs of "
            "your own; --pilot DIR takes it from a finished study"
        )
    found = _measured(metrics, cells, pilot or folder)
    many = sum(map(len, cells.values()))
    doubt = "; few, so it is itself uncertain" if many - len(cells) < _ENOUGH else ""
    return found, f"{many} finished runs ({_count(len(cells), 'arm')}) in {pilot or folder}{doubt}"


def _repeated(folder: Path) -> dict[str, list[Cell]]:
    """The cells in a study's folder, of arms that have two or more."""
    arms = sorted(path for path in (folder / "cells").glob("*") if path.is_dir())
    cells = {arm.name: read_cells(sorted(arm.glob("seed-*/cell.json"))) for arm in arms}
    return {arm: done for arm, done in cells.items() if len(done) > 1}


def _measured(metrics: list[str], cells: Mapping[str, list[Cell]], folder: Path) -> dict[str, Spread]:
    try:
        found = {m: spread(scores_of(m, cells).values()) for m in metrics}
    except ValueError as error:  # pass@k of fewer than k samples
        raise UserError(f"{folder}: {error}") from error
    return {m: each for m, each in found.items() if each is not None}


def _points(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def _runs(needed: int | None) -> str:
    return "over 1000" if needed is None else str(needed)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
