"""The pictures of a run, as SVG text to put into a page."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sent_rl.evaluation.comparison import RunEstimate
from sent_rl.evaluation.estimators import Z_95
from sent_rl.report.tables import distinct_metrics

# Okabe and Ito's palette, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "sent-rl",  # the same data give the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def training_curves(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Entropy, reward and KL over the steps, stages marked."""
    panels: list[tuple[str, dict[str, tuple[str, str]]]] = [
        ("entropy, nats a token", {"entropy": ("all tokens", BLUE), "entropy/low_entropy": ("low-entropy tokens", ORANGE)}),
        ("reward (share of right answers)", {"reward": ("reward", GREEN)}),
        ("KL to the reference, nats a token", {"kl": ("kl", GREY)}),
    ]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 3.1), layout="constrained")
        for axes, (title, curves) in zip(figure.subplots(1, len(panels)), panels, strict=True):
            drawn = [_curve(axes, metrics, key, label, color) for key, (label, color) in curves.items()]
            axes.set_title(title, fontsize=10, loc="left")
            axes.set_xlabel("step")
            axes.set_ylim(bottom=0)
            _mark_stages(axes, metrics)
            if sum(drawn) > 1:
                axes.legend(loc="center right")
            if not any(drawn):
                axes.text(0.5, 0.5, "not measured:\nno reference policy", ha="center", va="center", transform=axes.transAxes, color=GREY)
        return _svg(figure)


def _curve(axes: Axes, metrics: Sequence[Mapping[str, Any]], key: str, label: str, color: str) -> bool:
    """The measured values, faint, and their running mean; False where there are none."""
    points = [(m["step"], m[key]) for m in metrics if m.get(key) is not None]
    if not points:
        return False
    steps, values = zip(*points, strict=True)
    axes.plot(steps, values, color=color, alpha=0.3, linewidth=1)
    axes.plot(steps, _smooth(values), color=color, linewidth=2, label=label)
    return True


def _running_mean(values: Sequence[float], half: int) -> list[float]:
    """Mean over a window that is cut at both ends."""
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def _mark_stages(axes: Axes, metrics: Sequence[Mapping[str, Any]]) -> None:
    for before, after in pairwise(metrics):
        if after["stage"] != before["stage"]:
            axes.axvline(after["step"] - 0.5, color=GREY, linestyle=":", linewidth=1)
            axes.annotate(
                f"stage {after['stage']}", (after["step"], 1), xycoords=("data", "axes fraction"), fontsize=8, color=GREY, va="top"
            )


def curriculum_histogram(rows: Sequence[Mapping[str, Any]]) -> str:
    """Semantic entropies by stage, and the pass rate against them."""
    stages = sorted({row["stage"] for row in rows})
    top = max(0.1, *(row["semantic_entropy"] for row in rows))
    edges = [top * 1.001 * i / 24 for i in range(25)]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 3.1), layout="constrained")
        left, right = figure.subplots(1, 2)
        columns = [[row["semantic_entropy"] for row in rows if row["stage"] == s] for s in stages]
        shades = [mpl.colormaps["viridis"](0.15 + 0.7 * i / max(1, len(stages) - 1)) for i in range(len(stages))]
        left.hist(
            columns, bins=edges, stacked=True, color=shades, label=[f"stage {s} ({len(c)})" for s, c in zip(stages, columns, strict=True)]
        )
        left.set_title("problems by semantic entropy", fontsize=10, loc="left")
        left.set_xlabel("semantic entropy, nats")
        left.legend()
        for s, shade in zip(stages, shades, strict=True):
            places = Counter((row["semantic_entropy"], row["pass_rate"]) for row in rows if row["stage"] == s)
            sizes = [4 + 600 * count / len(rows) for count in places.values()]
            right.scatter(*zip(*places, strict=True), s=sizes, alpha=0.7, color=shade, linewidths=0)
        right.set_title("pass rate of the initial policy (area: problems)", fontsize=10, loc="left")
        right.set_xlabel("semantic entropy, nats")
        right.set_ylim(-0.03, 1.03)
        return _svg(figure)


def results_bars(found: Mapping[str, Any]) -> str:
    """Every metric of results.json, models side by side, with 95 % intervals."""
    models = found["models"]
    metrics = distinct_metrics(found)
    width = 0.8 / len(models)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 3.1), layout="constrained")
        axes = figure.subplots()
        for i, (name, color) in enumerate(zip(models, (GREY, BLUE, ORANGE, GREEN) * len(models), strict=False)):
            values = [models[name][metric] for metric in metrics]
            axes.bar(
                [x + (i - (len(models) - 1) / 2) * width for x in range(len(metrics))],
                [v["value"] for v in values],
                width * 0.9,
                yerr=[Z_95 * (v["stderr"] or 0) for v in values],
                color=color,
                label=name,
                capsize=3,
                error_kw={"linewidth": 1},
            )
        axes.set_xticks(range(len(metrics)), metrics)
        axes.set_ylim(0, 1.05)
        axes.grid(axis="x", visible=False)
        axes.legend(ncols=len(models), loc="lower left", bbox_to_anchor=(0, 1))
        return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    svg = re.sub(r' d="[^"]*"', _rounded, text[text.index("<svg") :])
    # Shrinks with the page instead of having the printed size, but never grows beyond it.
    bare = re.sub(r'\s(?:width|height)="[^"]*"', "", svg[: svg.index(">")])
    return f'{bare} style="max-width: {96 * figure.get_figwidth():.0f}px"{svg[svg.index(">") :]}'


def _rounded(path: re.Match[str]) -> str:
    """Hundredths of a point: a screen shows no more, and the file is a third smaller."""
    return re.sub(r"(\.\d\d)\d+", r"\1", path[0])


def spread_curves(series: Mapping[str, Sequence[Sequence[float]]], label: str, baseline: str) -> str:
    """One panel an arm: every seed's curve, smoothed, and their mean, over the range of all means (grey) and the baseline's (dashed)."""
    columns = min(4, len(series))
    rows = -(-len(series) // columns)
    means = {arm: _smooth(_mean_curve(runs)) for arm, runs in series.items()}
    low, high = ([pick(values) for values in zip(*means.values(), strict=False)] for pick in (min, max))
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(2.75 * columns, 2.1 * rows), layout="constrained")
        panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
        for axes, arm in zip(panels, series, strict=False):
            axes.fill_between(_thin(low)[0], _thin(low)[1], _thin(high)[1], color=GREY, alpha=0.2, linewidth=0)
            for run in series[arm]:
                axes.plot(*_thin(_smooth(run)), color=BLUE, alpha=0.4, linewidth=0.8)
            if baseline in means:
                axes.plot(*_thin(means[baseline]), color="black", linewidth=1, linestyle="--")
            axes.plot(*_thin(means[arm]), color=BLUE, linewidth=2)
            axes.set_title(arm, fontsize=9, loc="left")
            axes.set_ylim(0, max(high) * 1.15)
        for axes in panels[len(series) :]:
            axes.set_visible(False)
        figure.supxlabel("step", fontsize=9)
        figure.supylabel(label, fontsize=9)
        return _svg(figure)


def _smooth(curve: Sequence[float]) -> list[float]:
    return _running_mean(curve, max(1, len(curve) // 15))


def _thin(curve: Sequence[float], most: int = 48) -> tuple[list[int], list[float]]:
    """(steps, values) of some ``most`` points of a smooth curve: a page holds hundreds of them."""
    kept = sorted({round(i * (len(curve) - 1) / (most - 1)) for i in range(most)})
    return [i + 1 for i in kept], [curve[i] for i in kept]


def _mean_curve(runs: Sequence[Sequence[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*runs, strict=False)]


def forest(differences: Mapping[str, tuple[RunEstimate, float]], title: str) -> str:
    """Differences with their 95 % intervals, in points, one line each.

    Coloured where the second value, the p-value corrected for all of them, is below 0.05.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 0.8 + 0.32 * len(differences)), layout="constrained")
        axes = figure.subplots()
        for row, (d, corrected) in enumerate(differences.values()):
            color = GREY if corrected >= 0.05 else BLUE if d.value > 0 else ORANGE
            axes.plot([100 * end for end in d.interval], [row, row], color=color, linewidth=2)
            axes.plot(100 * d.value, row, "o", color=color)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(differences)), list(differences))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_title(title, fontsize=10, loc="left")
        return _svg(figure)
