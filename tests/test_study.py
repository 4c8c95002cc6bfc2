"""A study of two arms and two seeds, cut and resumed; and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sent_rl.errors import UserError
from sent_rl.files import read_table
from sent_rl.study import collect_cells, load_study, run_cell, run_study, study_names, write_study

TINY: dict[str, Any] = {
    "name": "tiny",
    "recipe": "quickstart",
    "settings": {
        "problems.train.count": 24,
        "problems.test.count": 5,
        "score.samples": 4,
        "train.steps": 4,
        "train.questions_per_step": 4,
        "train.generations": 4,
        "train.report_to": [],
        "evaluate.samples": 4,
        "evaluate.k": [1, 4],
    },
    "seeds": [1, 2],
    "baseline": "grpo",
    "arms": {"grpo": {"method": "grpo", "stage.stages": 1}, "sent": {"method.beta_high": 0.5}},
}


def write(folder: Path, **changes: Any) -> str:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changes}), encoding="utf-8")
    return str(path)


def test_a_study_from_cells_to_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path)
    study = load_study(source)
    assert study.cells() == [("grpo", 1), ("sent", 1), ("grpo", 2), ("sent", 2)]
    folder = tmp_path / "s"
    run_cell(study, folder, "sent", 2)  # any cell alone
    cell = folder / "cells" / "sent" / "seed-2" / "cell.json"
    assert [p.name for p in cell.parent.iterdir()] == ["cell.json"]
    found = json.loads(cell.read_text())
    assert len(found["correct"]) == 5
    assert found["n"] == 4
    assert found["config"]["seed"] == 2
    assert [len(found["metrics"][key]) for key in ("entropy", "reward", "kl", "covariance/mean")] == [4] * 4
    partly = collect_cells(study, folder)
    assert partly.arms == ["sent"]
    write_study(study, folder)  # a page of what there is

    before = cell.stat().st_mtime_ns
    capsys.readouterr()
    page = run_study(study, source, folder, jobs=2)
    said = capsys.readouterr().out
    assert said.startswith("What this study can see with 2 runs of each arm and 5 test questions: differences to grpo")
    assert said.index("runs for 2 points") < said.index("cells: ")
    assert cell.stat().st_mtime_ns == before  # a finished cell is not run again
    assert len(read_table(folder / "results.parquet")) == 2 * 2 * 5
    text = page.read_text(encoding="utf-8")
    assert "4 of 4 cells done" in text
    assert "<script" not in text
    table = (folder / "table.md").read_text()
    assert "|  | runs | avg@4 | to grpo | pass@4 | to grpo | entropy: first | last |" in table
    assert "| base model |  |" in table
    assert "| grpo | 2 |" in table
    for title in ("avg@4: differences to grpo", "Do the arms differ at all?"):
        assert f"## {title}\n" in table
        assert f"<h2>{title}</h2>" in text
    assert (folder / "entropy.svg").is_file()
    whole = collect_cells(study, folder)
    assert whole.scores["pass@4"]["sent"].shape == (2, 5)
    assert set(whole.against_baseline("avg@4")) == {"sent"}
    assert whole.f_test("avg@4").df_error == 2

    # as an earlier version, which had not all of today's keys, would have left it
    claimed = yaml.safe_load((folder / "study.yaml").read_text())
    for config in (claimed["recipe"], found["config"]):
        del config["answers"]["thoughts"], config["engine"]
    (folder / "study.yaml").write_text(yaml.safe_dump(claimed))
    cell.write_text(json.dumps(found))
    before = cell.stat().st_mtime_ns
    capsys.readouterr()
    run_study(study, source, folder)
    assert cell.stat().st_mtime_ns == before
    assert "What this study can see" not in capsys.readouterr().out  # there is nothing left to decide

    with pytest.raises(UserError, match=r"other settings \(method.beta_high is 0.5 and not 0.7\)"):
        run_study(load_study(write(tmp_path, arms={**TINY["arms"], "sent": {"method.beta_high": 0.7}})), source, folder)
    with pytest.raises(UserError, match="holds another run"):
        run_study(load_study(write(tmp_path, settings={**TINY["settings"], "train.steps": 5})), source, folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "gpro"}, "is no arm"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "every seed once"),
        ({"arms": {}}, "arms"),
        ({"seeds": [1, -2]}, "seed"),
        ({"arms": {**TINY["arms"], "../../esc": {}}}, "becomes a folder"),
        ({"arms": {"grpo": {"method": "grop"}}}, "did you mean 'grpo'"),
        ({"arms": {"grpo": {"train.stepss": 1}}}, "did you mean 'steps'"),
        ({"arms": {"grpo": {"evaluate.samples": 8}}}, "changes 'evaluate', which all arms share"),
        ({"recipe": "nope"}, "unknown recipe"),
        ({"colour": 1}, "colour"),
    ],
)
def test_studies_that_cannot_work(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_study(write(tmp_path, **changes))


def test_unknown_studies_and_cells(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'quick'"):
        load_study("quik")
    with pytest.raises(UserError, match="no such cell"):
        load_study(write(tmp_path)).cell("grpo", 9)
    with pytest.raises(UserError, match="no finished cell"):
        collect_cells(load_study(write(tmp_path)), tmp_path)
    (tmp_path / "bad.yaml").write_text("- 1")
    with pytest.raises(UserError, match=r"bad\.yaml"):
        load_study(str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize("name", study_names())
def test_studies_that_ship_are_valid(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    for arm, seed in study.cells():
        study.cell(arm, seed)


def test_a_failing_cell_says_where_its_output_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path)
    study = load_study(source)
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(UserError, match=r"failed; its output is in .*log\.txt"):
        run_study(study, source, tmp_path / "s")
