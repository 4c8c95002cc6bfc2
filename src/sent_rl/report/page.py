"""What a command left in a folder -> one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sent_rl.errors import UserError
from sent_rl.evaluation.benchmarks import BENCHMARKS
from sent_rl.files import write_text
from sent_rl.report.benchmarks import benchmarks_page
from sent_rl.report.sections import Section, curriculum, evaluation, render, training

_RUN, _TRAIN, _EVALUATION = "run.yaml", "train.yaml", "evaluation.yaml"


def write_report(folder: Path) -> Path:
    """Write ``report.html`` from what a folder holds; parts that are not there yet are left out.

    Args:
        folder: of ``sent run``, ``sent train`` or ``sent evaluate``, with or without ``--benchmarks``.

    Raises:
        UserError: it is another kind of folder, or holds no results of any step.
    """
    benchmarks = [name for name in BENCHMARKS if (folder / name / "results.json").is_file()]
    named = next((name for name in (_RUN, _TRAIN, _EVALUATION) if (folder / name).is_file()), None)
    if named is not None:
        page = _page(folder, named)
    elif benchmarks:
        page = benchmarks_page(folder, benchmarks)
    else:
        raise _not_a_folder_of_ours(folder)
    path = folder / "report.html"
    write_text(path, page)
    return path


def _page(folder: Path, file: str) -> str:
    config = yaml.safe_load((folder / file).read_text(encoding="utf-8"))
    sections = _sections(folder, file)
    if not any(sections.values()):
        raise UserError(f"{folder}: nothing to report yet; run a step first")
    settings = yaml.safe_dump({k: v for k, v in config.items() if k != "versions"}, sort_keys=False, allow_unicode=True)
    name, versions = config.get("name", folder.resolve().name), config.get("versions", {})
    return render("page.html", name=name, lead=_lead(config), file=file, config=config, versions=versions, settings=settings, **sections)


def _sections(folder: Path, file: str) -> dict[str, Section | None]:
    found: dict[str, Section | None] = {"curriculum": None, "training": None, "evaluation": None}
    if file == _TRAIN:
        return {**found, "training": training(folder)}
    if file == _EVALUATION:
        return {**found, "evaluation": evaluation(folder)}
    return {
        "curriculum": curriculum(folder / "curriculum.parquet"),
        "training": training(folder / "training"),
        "evaluation": evaluation(folder / "evaluation"),
    }


def _lead(config: Mapping[str, Any]) -> str:
    """The line below the title: what of it the folder's own configuration says."""
    facts = {
        "method": config.get("method", {}).get("name"),
        "model": None if "models" in config else config.get("model", {}).get("path"),
        "models": ", ".join(config.get("models", ())),
        "seed": config.get("seed"),
    }
    line = ", ".join(f"{name} {value}" for name, value in facts.items() if value not in (None, ""))
    return f"{line} - {config['description']}" if config.get("description") else line


def _not_a_folder_of_ours(folder: Path) -> UserError:
    """One line that says what can be reported, and where it may be meant."""
    if not folder.is_dir():
        return UserError(f"{folder}: no such folder")
    if (folder / "study.yaml").is_file():
        return UserError(f"{folder}: a study; `sent study NAME --out {folder} --page` writes its page")
    below = [path for path in sorted(folder.iterdir()) if any((path / name).is_file() for name in (_RUN, _TRAIN, _EVALUATION))]
    meant = f"; did you mean {below[0]}?" if below else ""
    return UserError(
        f"{folder}: nothing to report; give the folder of `sent run` ({_RUN}), `sent train` ({_TRAIN}) or `sent evaluate`"
        f" ({_EVALUATION}, or folders of benchmarks){meant}"
    )
