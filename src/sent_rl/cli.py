"""The command ``sent``. It reads options and calls the pipeline; every decision is made there."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from sent_rl import __version__
from sent_rl.console import console
from sent_rl.errors import UserError

if TYPE_CHECKING:
    from sent_rl.config import RunConfig
    from sent_rl.problems.writing import RowSchema

app = typer.Typer(
    name="sent",
    help="Entropy-aware reinforcement learning for reasoning models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Recipe = Annotated[str, typer.Argument(help="A recipe's name (see `sent recipes`) or the path of a .yaml file.")]
RecipeOption = Annotated[str | None, typer.Option("--recipe", help="Take settings from this recipe; without it, the defaults.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override any key of the recipe, e.g. train.steps=100. May be repeated."),
]
Processes = Annotated[int, typer.Option("--processes", min=1, help="Train in so many processes; one a GPU.")]
Layout = Annotated[
    str | None, typer.Option("--layout", help="How they share the model: multi_gpu, fsdp2, zero2, zero3 or an accelerate configuration.")
]
Engine = Annotated[str | None, typer.Option(help="What samples: transformers, vllm or openai (key engine.kind; docs/scale.md).")]
Ray = Annotated[int | None, typer.Option("--ray", metavar="N", help="Spread it over N workers on a Ray cluster (key engine.ray.workers).")]
Model = Annotated[str | None, typer.Option("--model", help="The policy: embedded, smollm2, a folder or a Hub id (key model.path).")]


def _config(recipe: str | None, settings: list[str] | None, **options: object) -> RunConfig:
    """The recipe with the options that stand for a key (``a__b`` for a.b), then with what --set says."""
    from sent_rl.config import load_config

    values = {key.replace("__", "."): value for key, value in options.items() if value is not None}
    return load_config(recipe, settings or [], values)


def _whole_numbers(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--k {text}: whole numbers with commas between them, e.g. 1,8,32") from error


def _names(text: str | None) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()] if text else []


def _row_schema(name: str) -> RowSchema:
    if name not in ("plain", "verl"):
        raise UserError(f"--schema {name}: plain or verl")
    return "verl" if name == "verl" else "plain"


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise UserError(f"{path}: exists already; choose another name or remove it")


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        console.print(__version__)
        raise typer.Exit


@app.command()
def run(
    recipe: Recipe,
    out: Annotated[Path | None, typer.Option("--out", help="Run directory; runs/NAME by default.")] = None,
    processes: Processes = 1,
    layout: Layout = None,
    settings: Settings = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the recipe, print it resolved, with its price, and stop.")] = False,
) -> None:
    """Do all steps of a recipe: score, stage, train, evaluate, report. Goes on where it was cut."""
    import yaml

    from sent_rl.config import dump_config, load_config

    config = load_config(recipe, settings or [])
    if dry_run:
        from sent_rl.pricing import price_lines

        console.print(yaml.safe_dump(dump_config(config), sort_keys=False), end="")
        try:
            lines = price_lines(config)
        except UserError as error:
            lines = [f"no price: {error}"]
        console.print("\n".join(f"# {line}" for line in lines))
        return
    from sent_rl import pipeline

    pipeline.run(config, out or Path("runs") / config.name, processes, layout)


@app.command()
def score(
    problems: Annotated[str | None, typer.Argument(help="arithmetic, gym:FAMILY, a .jsonl, .json or .parquet file, or a Hub id.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The table to write.")] = Path("scores.parquet"),
    model: Model = None,
    samples: Annotated[int | None, typer.Option(help="Responses a problem (key score.samples).")] = None,
    engine: Engine = None,
    ray: Ray = None,
    recipe: RecipeOption = None,
    settings: Settings = None,
) -> None:
    """Sample the initial policy on every problem and measure semantic entropy and pass rate -> scores.parquet."""
    from sent_rl import pipeline

    options = {"problems__train": problems, "model__path": model, "score__samples": samples}
    config = _config(recipe, settings, **options, engine__kind=engine, engine__ray__workers=ray)
    _refuse_existing(out)
    pipeline.score(config, config.problems.train.load(), out)


@app.command()
def stage(
    scores: Annotated[Path, typer.Argument(help="A table that `sent score` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="The table to write.")] = Path("curriculum.parquet"),
    stages: Annotated[int | None, typer.Option(help="Equal parts (key stage.stages).")] = None,
    order: Annotated[str | None, typer.Option(help="ascending, descending or random (key stage.order).")] = None,
    recipe: RecipeOption = None,
    settings: Settings = None,
) -> None:
    """Sort scored problems by semantic entropy and cut them in stages -> curriculum.parquet."""
    from sent_rl import pipeline

    config = _config(recipe, settings, stage__stages=stages, stage__order=order)
    _refuse_existing(out)
    pipeline.stage(config, scores, out)


@app.command()
def train(
    curriculum: Annotated[Path, typer.Argument(help="A table that `sent stage` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for checkpoints, metrics.jsonl and the trained model (final/).")],
    model: Model = None,
    method: Annotated[str | None, typer.Option(help="The method (key method.name); see `sent methods`.")] = None,
    processes: Processes = 1,
    layout: Layout = None,
    recipe: RecipeOption = None,
    settings: Settings = None,
) -> None:
    """Train on a curriculum, stage after stage. The same command again resumes at the last checkpoint."""
    from sent_rl import pipeline

    config = _config(recipe, settings, model__path=model, method=method)
    console.print(f"trained model: {pipeline.train(config, curriculum, out, processes, layout)}")


@app.command()
def evaluate(
    out: Annotated[Path, typer.Option("--out", help="Folder for samples.parquet and results.json.")],
    models: Annotated[
        list[str] | None, typer.Argument(help="Models to compare on the same problems: embedded, smollm2, folders or Hub ids.")
    ] = None,
    benchmarks: Annotated[
        str | None, typer.Option(help="Instead of --problems: names with commas between them (docs/evaluation.md); paper: its six.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with copies of the benchmarks, instead of the Hub.")] = None,
    responses: Annotated[Path | None, typer.Option(help="Judge the responses in this .jsonl or .parquet file instead of models'.")] = None,
    paper: Annotated[str | None, typer.Option(help="Show these arms of the paper's tables beside, e.g. grpo,sent.")] = None,
    problems: Annotated[str | None, typer.Option(help="As for `sent score`; the recipe's test problems by default.")] = None,
    n: Annotated[int | None, typer.Option("--n", help="Samples a problem (key evaluate.samples).")] = None,
    k: Annotated[str | None, typer.Option("--k", help="The K of Pass@K and Avg@K, e.g. 1,8,32 (key evaluate.k).")] = None,
    engine: Engine = None,
    ray: Ray = None,
    recipe: RecipeOption = None,
    settings: Settings = None,
) -> None:
    """Pass@K and Avg@K of one or more models, with 95 % intervals, from one set of samples."""
    import json

    from sent_rl import pipeline
    from sent_rl.report import results_heading, results_lines
    from sent_rl.rollouts import engine_path

    if bool(models) == (responses is not None):
        raise UserError("evaluate: give either models to sample, or --responses FILE")
    sampler = {"engine__kind": engine, "engine__ray__workers": ray}
    config = _config(recipe, settings, problems__test=problems, evaluate__samples=n, evaluate__k=_whole_numbers(k), **sampler)
    if benchmarks is not None and not {"k", "samples"} & config.evaluate.model_fields_set:
        config = _config(recipe, settings, evaluate__k=[8, 16, 32], **sampler)
    named = {name: engine_path(config.engine, name) for name in models or ()}
    if benchmarks is not None:
        if problems is not None:
            raise UserError("evaluate: --benchmarks or --problems, not both")
        pipeline.evaluate_benchmarks(config, named, _names(benchmarks), out, data=data, responses=responses, paper=_names(paper))
        return
    if responses is not None or data is not None or paper is not None:
        raise UserError("evaluate: --responses, --data and --paper go with --benchmarks, e.g. --benchmarks paper")
    pipeline.evaluate(config, named, config.problems.test.load(), out)
    found = json.loads((out / "results.json").read_text(encoding="utf-8"))
    console.print("\n".join([results_heading(found), *results_lines(found)]))


@app.command("check-overlap")
def check_overlap(
    train: Annotated[str, typer.Argument(help="Training problems: a .jsonl, .json or .parquet file, or a Hub id.")],
    benchmarks: Annotated[str, typer.Option(help="Names with commas between them (docs/evaluation.md); paper: its six.")] = "paper",
    data: Annotated[Path | None, typer.Option(help="Folder with copies of the benchmarks, instead of the Hub.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The report to write, JSON.")] = Path("overlap.json"),
    clean: Annotated[Path | None, typer.Option(help="Write what is left without any of these (.jsonl, .parquet).")] = None,
    schema: Annotated[str, typer.Option(help="Rows of --clean: plain, or verl.")] = "plain",
    settings: Settings = None,
) -> None:
    """Find training problems that re-appear in a benchmark, and those that the training set repeats."""
    from sent_rl import pipeline

    for path in (out, *([clean] if clean else [])):
        _refuse_existing(path)
    config = _config(None, settings, problems__train=train)
    pipeline.check_overlap(config, _names(benchmarks), out, data=data, clean=clean, schema=_row_schema(schema))


@app.command()
def convert(
    problems: Annotated[str, typer.Argument(help="As for `sent score`.")],
    out: Annotated[Path, typer.Argument(help="The .jsonl or .parquet file to write.")],
    schema: Annotated[str, typer.Option(help="plain: id, prompt, answer, source; verl: the rows that verl's dataset reads.")] = "verl",
    settings: Settings = None,
) -> None:
    """Write problems of any source as a file, in verl's row schema for example."""
    from sent_rl.problems import write_problems

    _refuse_existing(out)
    config = _config(None, settings, problems__train=problems)
    found = config.problems.train.load()
    template = config.prompting.template.strip() if "template" in config.prompting.model_fields_set else "{question}"
    write_problems(found, out, _row_schema(schema), template)
    console.print(f"{len(found)} problems: {out}")


export_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Write a recipe as a job for another trainer.")
app.add_typer(export_app, name="export")


@export_app.callback()
def _export() -> None:
    """Write a recipe as a job for another trainer."""


@export_app.command("verl")
def export_verl(
    recipe: Recipe,
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    curriculum: Annotated[Path | None, typer.Option(help="A table that `sent stage` wrote; without it there are no stages.")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="GPUs of each machine; key hardware.gpus by default.")] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Longest prompt, in tokens.")] = 1024,
    engine: Annotated[str, typer.Option(help="verl's rollout engine: vllm or sglang.")] = "vllm",
    settings: Settings = None,
) -> None:
    """Write a recipe as a verl job: train.parquet, val.parquet, command.sh and cluster.sh."""
    from sent_rl import pipeline

    config = _config(recipe, settings)
    pipeline.export_verl(config, out, curriculum=curriculum, gpus=gpus, nodes=nodes, prompt_tokens=prompt_tokens, engine=engine)


@app.command()
def study(
    study: Annotated[str, typer.Argument(help="A study's name or the path of a .yaml file.")],
    out: Annotated[Path | None, typer.Option("--out", help="Its directory; runs/study-NAME by default.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Cells run side by side, one thread each.")] = 1,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Use these seeds instead of the study's. May be repeated.")] = None,
    cell: Annotated[str | None, typer.Option("--cell", metavar="ARM/SEED", help="Run this cell alone, in this process.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="With --cell: keep its checkpoints and samples.")] = False,
    page: Annotated[bool, typer.Option("--page", help="Only write the tables and the page from the cells that are done.")] = False,
    pilot: Annotated[
        Path | None,
        typer.Option(
            "--pilot",
            metavar="DIR",
            help="Folder of a finished study: how far its runs spread says what this one can see.",
        ),
    ] = None,
) -> None:
    """Run a grid of methods and seeds over one recipe, cell by cell, and compare them with intervals. Goes on where it was cut."""
    from sent_rl.study import load_study, run_cell, run_study, write_study

    config = load_study(study, seeds)
    folder = out or Path("runs") / f"study-{config.name}"
    if cell is not None:
        arm, slash, seed = cell.rpartition("/")
        if not slash or not seed.isdigit():
            raise UserError(f"--cell {cell}: write ARM/SEED, e.g. {config.baseline}/{config.seeds[0]}")
        run_cell(config, folder, arm, int(seed), keep)
    elif page:
        console.print(f"page: {write_study(config, folder)}")
    else:
        console.print(f"page: {run_study(config, study, folder, jobs, pilot)}")


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run directory.")]) -> None:
    """Write report.html from what a run directory holds."""
    from sent_rl.report import write_report

    console.print(f"report: {write_report(folder)}")


@app.command()
def methods(name: Annotated[str | None, typer.Argument(help="Print this method's card.")] = None) -> None:
    """List the methods, or print the card of one."""
    from sent_rl.methods import card, method_class, names

    if name is not None:
        console.print(card(name))
        return
    for each in names():
        console.print(f"{each:20} {method_class(each).card().splitlines()[0]}")


@app.command()
def recipes() -> None:
    """List the recipes and studies that ship with the package."""
    from sent_rl.config import load_config, recipe_names
    from sent_rl.study import load_study, study_names

    for name in recipe_names():
        console.print(f"{name:20} {load_config(name).description}")
    for name in study_names():
        console.print(f"study {name:14} {load_study(name).description}")


@app.command()
def doctor() -> None:
    """Say what is installed, and whether the embedded model works here."""
    from sent_rl.doctor import lines

    for line in lines():
        console.print(line)


class _Interrupted(BaseException):
    """Ctrl-C, by a name that the command-line library does not swallow."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise _Interrupted


def main() -> None:
    """Entry point of ``sent``."""
    run_app(app)


def run_app(app: typer.Typer) -> None:
    """Run a command: a mistake of the user's is one line and exit code 2."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except _Interrupted:
        if os.environ.get("RANK", "0") == "0":  # one voice
            print("interrupted; the same command goes on from the last finished part", file=sys.stderr)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    main()
