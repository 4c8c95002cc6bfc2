"""Running a study: what is shared once, then every cell, each in a process of its own, each resumable and small when done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from sent_rl import pipeline
from sent_rl.config import dump_config, renewed
from sent_rl.console import console, progress
from sent_rl.errors import UserError
from sent_rl.files import claim, first_difference, read_table, write_json
from sent_rl.report.tables import read_metrics
from sent_rl.study.config import StudyConfig
from sent_rl.study.page import write_study
from sent_rl.study.power import forecast

# What a cell keeps of every training step.
_KEPT_METRICS = ("step", "stage", "reward", "entropy", "kl", "kl_old", "frac_reward_zero_std", "share/low_entropy", "covariance/mean")
_DIGITS = 4


def run_study(study: StudyConfig, source: str, folder: Path, jobs: int = 1, pilot: Path | None = None) -> Path:
    """Run every cell that is not done, ``jobs`` side by side with one thread each, and write the page.

    Before the first cell it says how large a difference the study can see.

    Args:
        source: the study's name or file, which the cells' processes read again.
        pilot: folder of a finished study whose spread of runs is reckoned with.

    Returns:
        The page.

    Raises:
        UserError: the folder holds another study, the pilot cannot be used, or a cell failed.
    """
    claim_folder(study, folder)
    pending = [(arm, seed) for arm, seed in study.cells() if not is_done(study, folder, arm, seed)]
    if pending:
        console.print(forecast(study, folder, pilot))
    prepare(study, folder)
    with progress("cells", len(pending)) as advance, ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(_in_process, source, study.seeds, folder, arm, seed): (arm, seed) for arm, seed in pending}
        try:
            for future in as_completed(futures):
                future.result()
                advance(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return write_study(study, folder)


def claim_folder(study: StudyConfig, folder: Path) -> None:
    """Make ``folder`` the place of this study, or find that it is.

    Raises:
        UserError: it holds another.
    """
    identity = {"study": study.name, "recipe": dump_config(study.base())}
    claim(folder, "study.yaml", identity, renew=lambda written: {**written, "recipe": renewed(written.get("recipe", {}))})


def prepare(study: StudyConfig, folder: Path) -> None:
    """Scores of the training problems and the base model's results on the test problems: the same for every cell."""
    claim_folder(study, folder)
    config = study.base()
    scores = folder / "scores.parquet"
    if not scores.is_file():
        pipeline.score(config, config.problems.train.load(), scores)
    if not (folder / "base.json").is_file():
        work = folder / "base"
        pipeline.evaluate(config, {pipeline.BASE: None}, config.problems.test.load(), work)
        write_json(folder / "base.json", _verdicts(work))
        shutil.rmtree(work)


def cell_folder(folder: Path, arm: str, seed: int) -> Path:
    return folder / "cells" / arm / f"seed-{seed}"


def is_done(study: StudyConfig, folder: Path, arm: str, seed: int) -> bool:
    """Whether the cell's result is there.

    Raises:
        UserError: it is, but of other settings.
    """
    path = cell_folder(folder, arm, seed) / "cell.json"
    if not path.is_file():
        return False
    written = json.loads(path.read_text(encoding="utf-8"))["config"]
    different = first_difference(renewed(written), dump_config(study.cell(arm, seed)))
    if different:
        raise UserError(f"{path}: was run with other settings ({different}); remove it to run the cell again")
    return True


def run_cell(study: StudyConfig, folder: Path, arm: str, seed: int, keep: bool = False) -> None:
    """Stage, train and evaluate one cell; leaves ``cell.json`` (``seconds``: of the processor), and the run where asked to ``keep`` it."""
    prepare(study, folder)
    if is_done(study, folder, arm, seed):
        console.print(f"cell {arm}/{seed} is done")
        return
    config = study.cell(arm, seed)
    place = cell_folder(folder, arm, seed)
    work, started = place / "run", time.process_time()
    if not (work / "curriculum.parquet").is_file():
        pipeline.stage(config, folder / "scores.parquet", work / "curriculum.parquet")
    trained = pipeline.train(config, work / "curriculum.parquet", work / "training")
    pipeline.evaluate(config, {pipeline.TRAINED: str(trained)}, config.problems.test.load(), work / "evaluation")
    found = {
        "arm": arm,
        "seed": seed,
        "config": dump_config(config),
        "seconds": round(time.process_time() - started, 1),
        **_verdicts(work / "evaluation"),
        "metrics": _columns(read_metrics(work / "training" / "metrics.jsonl")),
    }
    write_json(place / "cell.json", found)
    if not keep:
        shutil.rmtree(work)


def _in_process(source: str, seeds: Sequence[int], folder: Path, arm: str, seed: int) -> None:
    """Run one cell in a process with one thread; its output goes to the cell's log."""
    place = cell_folder(folder, arm, seed)
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "sent_rl.cli", "study", source, "--out", str(folder), "--cell", f"{arm}/{seed}"]
    for each in seeds:
        command += ["--seed", str(each)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (place / "log.txt").open("w", encoding="utf-8") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise UserError(f"cell {arm}/{seed} failed; its output is in {place / 'log.txt'}")
    (place / "log.txt").unlink()


def _verdicts(evaluation: Path) -> dict[str, Any]:
    """How many of the n samples of each test problem were right, in the order of the problems' ids."""
    right: dict[str, int] = {}
    samples = read_table(evaluation / "samples.parquet")
    for row in samples:
        right[row["problem"]] = right.get(row["problem"], 0) + bool(row["correct"])
    return {"n": len(samples) // len(right), "correct": [right[q] for q in sorted(right)]}


def _columns(metrics: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    def short(value: Any) -> float | None:
        return None if value is None else float(f"{value:.{_DIGITS}g}")

    return {key: [short(m.get(key)) for m in metrics] for key in _KEPT_METRICS if any(m.get(key) is not None for m in metrics)}
