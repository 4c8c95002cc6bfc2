"""What a study's cells say, and what a study will be able to see; on cells that are written by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from sent_rl.errors import UserError
from sent_rl.evaluation.comparison import difference
from sent_rl.evaluation.power import detectable, runs_needed
from sent_rl.study import Study, StudyConfig, collect_cells, write_study
from sent_rl.study.power import forecast
from sent_rl.study.tables import as_markdown, results_tables, verdict_tables

QUESTIONS, SAMPLES = 200, 8


def config(**changes: object) -> StudyConfig:
    tree = {
        "name": "by-hand",
        "recipe": "quickstart",
        "settings": {"problems.test.count": QUESTIONS, "evaluate.samples": SAMPLES, "evaluate.k": [1, 4, 8]},
        "seeds": [1, 2, 3, 4],
        "baseline": "grpo",
        "arms": {"grpo": {"method": "grpo"}, "sent": {}, "other": {"method.beta_high": 0.5}},
    }
    return StudyConfig.model_validate({**tree, **changes})


def write_cells(folder: Path, runs: Mapping[str, Sequence[int]], shift: float = 0.0, samples: int = SAMPLES) -> None:
    """Cells whose runs differ by seed, the same for every arm, and by themselves; ``shift``: of sent."""
    rng = np.random.default_rng(0)
    difficulty = rng.uniform(0.2, 0.5, QUESTIONS)
    for arm, seeds in runs.items():
        for seed in seeds:
            p = difficulty + 0.06 * seed + rng.normal(0, 0.01) + (shift if arm == "sent" else 0)
            right = rng.binomial(samples, np.clip(p, 0, 1)).tolist()
            cell = {"arm": arm, "seed": seed, "n": samples, "correct": right, "seconds": 1.0, "metrics": {"entropy": [0.2, 0.1]}}
            place = folder / "cells" / arm / f"seed-{seed}"
            place.mkdir(parents=True)
            (place / "cell.json").write_text(json.dumps(cell))
    (folder / "base.json").write_text(json.dumps({"n": samples, "correct": [1] * QUESTIONS}))


def studied(folder: Path, runs: Mapping[str, Sequence[int]], shift: float = 0.0, **changes: object) -> Study:
    write_cells(folder, runs, shift)
    return collect_cells(config(**changes), folder)


ALL = dict.fromkeys(("grpo", "sent", "other"), (1, 2, 3, 4))


def test_arms_are_compared_over_runs(tmp_path: Path) -> None:
    study = studied(tmp_path, ALL, shift=0.05)
    found = study.against_baseline("avg@8")
    of = study.scores["avg@8"]
    assert found["sent"].difference == difference(of["sent"], of["grpo"])
    assert found["sent"].holm == pytest.approx(min(1, 2 * min(c.difference.p for c in found.values())))
    assert found["sent"].holm > 0.05  # seeds differ by more than the arm does


def test_pairing_takes_the_seeds_that_both_arms_have(tmp_path: Path) -> None:
    study = studied(tmp_path, {**ALL, "sent": (2, 3, 4)}, shift=0.05, paired=True)
    of = study.scores["avg@8"]
    found = study.against_baseline("avg@8")["sent"].difference
    assert found == difference(of["sent"], of["grpo"][1:], paired=True)
    assert found.p < difference(of["sent"], of["grpo"]).p / 2  # these seeds move all arms alike
    tables = as_markdown(verdict_tables(study))
    assert "t test by seed" in tables
    assert "Welch" not in tables


def test_one_run_of_each_arm_gives_no_interval_and_no_p(tmp_path: Path) -> None:
    study = studied(tmp_path, dict.fromkeys(ALL, (1,)), seeds=[1])
    assert verdict_tables(study) == []
    text = as_markdown(results_tables(study))
    assert "cannot be told from one between seeds" in text
    assert " ± half" in text
    assert text.count("±") == 1  # in the note alone
    page = write_study(study.config, tmp_path).read_text(encoding="utf-8")
    assert "p (Holm)" not in page


def test_arms_of_which_only_one_run_is_there_yet(tmp_path: Path) -> None:
    study = studied(tmp_path, {"grpo": (1, 2), "sent": (1, 2), "other": (1,)})
    found = study.against_baseline("avg@8")
    assert math.isnan(found["other"].holm)
    assert found["sent"].holm == found["sent"].difference.p  # one test, nothing to correct
    assert "| other | " in as_markdown(verdict_tables(study))


def test_parts_have_a_table_of_their_own(tmp_path: Path) -> None:
    study = studied(tmp_path, ALL, hidden=["other"])
    results, parts = results_tables(study)
    assert [row[0] for row in results.rows[1:]] == ["base model", "grpo", "sent"]
    assert [row[0] for row in parts.rows[1:]] == ["base model", "grpo", "other"]
    assert "avg@8: differences to grpo" in as_markdown(verdict_tables(study))


# ---- before a study starts


def test_without_runs_the_committed_study_is_reckoned_with(tmp_path: Path) -> None:
    text = forecast(config(), tmp_path)
    assert "4 runs of each arm and 200 test questions" in text
    assert "the study in docs/studies.md" in text
    # a table that is wider than a terminal goes on below, where each row begins with its metric again
    row = [cell for line in text.splitlines() if line.startswith("avg@8") for cell in line.split()[1:]]
    spread = 100 * math.hypot(0.0229, 0.209 / math.sqrt(200))
    seen = [detectable(spread, 4), runs_needed(2.0, spread), detectable(spread, 4, 2), runs_needed(2.0, spread, 2)]
    assert row == [f"{spread:.2f}", *(f"{v:.1f}" if isinstance(v, float) else str(v) for v in seen)]
    assert "cannot be told" not in text
    assert "cannot be told" in forecast(config(seeds=[1]), tmp_path)


def test_own_runs_and_a_pilots_are_reckoned_with(tmp_path: Path) -> None:
    own, pilot = tmp_path / "own", tmp_path / "pilot"
    write_cells(own, {"grpo": (1, 2, 3), "sent": (1,)})
    write_cells(pilot, {"grpo": (1, 2, 3, 4, 5, 6), "sent": (1, 2, 3, 4, 5, 6)})
    assert f"3 finished runs (1 arm) in {own}; few" in forecast(config(), own)
    assert forecast(config(), own, pilot).splitlines()[-1] == f"The spread of runs is that of 12 finished runs (2 arms) in {pilot}."
    with pytest.raises(UserError, match=r"--pilot .*: no arm with two finished runs"):
        forecast(config(), own, tmp_path / "nowhere")
    settings = {**config().settings, "evaluate.samples": 16, "evaluate.k": [1, 16]}
    with pytest.raises(UserError, match="pass@16 needs at least 16 samples"):
        forecast(config(settings=settings), own, pilot)


def test_runs_that_do_not_differ_need_no_more_runs(tmp_path: Path) -> None:
    write_cells(tmp_path, {"grpo": (1, 2)})
    for cell in tmp_path.glob("cells/*/*/cell.json"):
        cell.write_text(json.dumps({**json.loads(cell.read_text()), "correct": [3] * QUESTIONS}))
    assert "avg@8" in forecast(config(), tmp_path)
