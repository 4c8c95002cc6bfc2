"""``accelerate launch -m sent_rl.train recipe.yaml``: training in every process that a launcher starts, the rest in the first one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from sent_rl.cli import Recipe, Settings
from sent_rl.shell import run_app

_POLL = 2.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    recipe: Recipe,
    curriculum: Annotated[
        Path | None, typer.Option(help="A table that `sent stage` wrote; without it the first process scores and stages.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for checkpoints and final/; runs/NAME/training by default.")] = None,
    settings: Settings = None,
) -> None:
    """Train on the problems of a recipe; the same command again resumes at the last checkpoint."""
    from sent_rl import pipeline
    from sent_rl.config import load_config

    config = load_config(recipe, settings or [])
    folder = Path("runs") / config.name
    if curriculum is None:
        curriculum = folder / "curriculum.parquet"
        if os.environ.get("RANK", "0") == "0":
            pipeline.prepare(config, folder)
        else:
            from sent_rl.trainers.trl.run import training_arguments

            training_arguments(config, folder / "training")  # joins the group, for which the first process waits in its checks
        while not curriculum.is_file():  # no barrier: sampling may take longer than its time-out; a first process that fails ends all
            time.sleep(_POLL)
    pipeline.train(config, curriculum, out or folder / "training")


if __name__ == "__main__":
    run_app(app)
