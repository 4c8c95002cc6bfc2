"""A run directory, step by step; each step is atomic and resumable."""

from __future__ import annotations

import hashlib
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from sent_rl.config import RunConfig, dump_config, renewed
from sent_rl.console import StepLines, console, progress
from sent_rl.context import check_prompts, fitted
from sent_rl.curriculum import CURRICULUM, SCORES, ScoreCounts, equal_sizes, score_rows, stage_facts, stage_rows
from sent_rl.errors import UserError
from sent_rl.evaluation.benchmarks import PAPER_BENCHMARKS, benchmark, load_benchmark
from sent_rl.evaluation.overlap import cleaned
from sent_rl.evaluation.overlap import report as overlap_report
from sent_rl.evaluation.paper import paper_arm
from sent_rl.evaluation.walk import QuestionSet, Sampler, claim_set, draw, judge, judge_drawn
from sent_rl.files import claim, read_table, write_json, write_table
from sent_rl.problems import Problem, problem_of, write_problems
from sent_rl.problems.sources import File
from sent_rl.problems.writing import RowSchema
from sent_rl.provenance import BENCHMARK_KEYS, FORM_KEYS, as_in_table, as_trained, settings_of, table_settings
from sent_rl.report import summary, write_benchmarks, write_report
from sent_rl.rollouts import Prompt, Response, check_engine, collect, engine_identity, lazy_engine, read_recorded, responses_to
from sent_rl.spelling import check_spelling
from sent_rl.trainers.reward import load_reward

BASE, TRAINED = "base", "trained"
_VERSIONED = ("sent-rl", "torch", "transformers", "trl", "accelerate", "datasets", "tokenizers")


def run(config: RunConfig, folder: Path, processes: int = 1, layout: str | None = None) -> None:
    """All steps of a recipe in ``folder``; steps that are done are not done again.

    Args:
        processes: that train; see :func:`sent_rl.trainers.trl.launch.launch`, also for ``layout``.

    Raises:
        UserError: the folder holds another run, or a step cannot be done.
    """
    console.print(f"run directory: {folder}")
    config = fitted(config)
    if not (folder / "training" / "final").is_dir():
        from sent_rl.trainers.trl.layouts import check_layout

        check_layout(config.train, layout)
    test_problems = prepare(config, folder)
    evaluation = folder / "evaluation"
    trained = train(config, folder / "curriculum.parquet", folder / "training", processes, layout)
    if (evaluation / "results.json").is_file():
        console.print(f"evaluated already: {evaluation}")
    else:
        evaluate(config, {BASE: None, TRAINED: str(trained)}, test_problems, evaluation)
    page = write_report(folder)
    console.print()
    for line in summary(folder):
        console.print(line)
    console.print(f"report: {page}")


def prepare(config: RunConfig, folder: Path) -> Sequence[Problem]:
    """The steps before training; returns the problems to test on."""
    config = fitted(config)
    train_problems, test_problems = config.problems.train.load(), config.problems.test.load("problems.test")
    check(config, folder, train_problems, test_problems)
    claim_run(config, folder)
    scores, curriculum = folder / "scores.parquet", folder / "curriculum.parquet"
    if scores.is_file():
        console.print(f"scored already: {scores}")
    else:
        score(config, train_problems, scores)
    if curriculum.is_file():
        console.print(f"staged already: {curriculum}")
    else:
        stage(config, scores, curriculum)
    return test_problems


def claim_run(config: RunConfig, folder: Path) -> None:
    """Write run.yaml: the resolved configuration, seeds included, and the versions of what it runs on."""
    identity = dump_config(config)
    facts = {"hardware": identity.pop("hardware"), "versions": {name: metadata.version(name) for name in _VERSIONED}}
    claim(folder, "run.yaml", identity, facts, lambda written: {k: v for k, v in renewed(written).items() if k != "hardware"})


def score(config: RunConfig, problems: Sequence[Problem], out: Path) -> None:
    """Sample the initial policy and write the problems with their semantic entropies to ``out`` (SCORES)."""
    config = fitted(config, "score")
    section = config.score
    prompts = [config.prompting.render(p) for p in problems]
    check_engine(config.engine, config.model, prompts)
    check_prompts(config, "score", prompts)
    parts = out.with_name(f"{out.name}.parts")
    read = _reader(config, config.answers.read_for_scores, prompts)
    with progress("score", len(problems)) as advance:
        sampled = collect(
            lazy_engine(config.engine, config.model),
            problems,
            prompts,
            section.samples,
            section.sampling,
            config.seed,
            parts,
            model=engine_identity(config.engine, config.model),
            logprobs=section.weights == "likelihood",
            advance=advance,
        )
        counts, facts = ScoreCounts(), {"settings": settings_of(config)}
        rows = score_rows(sampled, read, section.weights, section.unparsed)
        write_table(out, _counted(rows, counts, facts), SCORES, facts)
    shutil.rmtree(parts, ignore_errors=True)
    for line in counts.lines(section.sampling.max_tokens):
        console.print(line)
    for warning in counts.warnings(section.sampling.max_tokens, config.answers.of_scores):
        console.print(f"warning: {warning}")


def _reader(
    config: RunConfig, read: Callable[..., str | None], prompts: Sequence[Prompt], path: str | None = None
) -> Callable[..., str | None]:
    """``read`` for responses to these prompts. What a server's chat template does is not known."""
    on_server = config.engine.kind == "openai" and config.prompting.chat
    if config.answers.opened is None and (on_server or not prompts):
        return read
    return partial(read, opened=config.opens_thought(prompts[0], path))


def _counted(rows: Iterator[dict[str, Any]], counts: ScoreCounts, facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows as they come, counted on the side: a large table is never in memory as a whole."""
    for row in rows:
        counts.add(row)
        yield row
    facts["responses"] = counts.facts()


def stage(config: RunConfig, scores: Path, out: Path) -> None:
    """Sort and cut scored problems, and write them in order to ``out`` (CURRICULUM)."""
    section = config.stage
    scored = read_table(scores, SCORES.names)
    if not scored:
        raise UserError(f"{scores}: no problems in it")
    config, settings = as_in_table(config, scores), table_settings(scores)
    rows, cut = stage_rows(scored, section.stages, section.order, section.thresholds, config.seed)
    facts, counts = stage_facts(rows, cut), ScoreCounts()
    for row in rows:
        counts.add(row)
    how = {"settings": settings, "stage": dump_config(config)["stage"], "seed": config.seed}
    write_table(out, rows, CURRICULUM, {**how, **facts, "responses": counts.facts()})
    sizes = ", ".join(
        f"{size} (entropy {entropy:.2f}, pass rate {rate:.2f})"
        for size, entropy, rate in zip(facts["sizes"], facts["semantic_entropy"], facts["pass_rate"], strict=True)
    )
    console.print(f"staged: {sizes}; tied {cut.tie_rate:.0%}, {cut.tied_cuts} of {len(cut.sizes) - 1} cuts through a tie")
    max_tokens = settings.get("score", {}).get("sampling", {}).get("max_tokens")
    for warning in counts.warnings(max_tokens, config.answers.of_scores):
        console.print(f"warning: {scores}: {warning}")


def train(config: RunConfig, curriculum: Path, folder: Path, processes: int = 1, layout: str | None = None) -> Path:
    """Train on a curriculum, in this process or in so many new ones; returns the folder of the trained model."""
    rows = read_table(curriculum, ("id", "prompt", "answer", "stage"))
    if not rows:
        raise UserError(f"{curriculum}: no problems in it")
    config = as_in_table(config, curriculum)
    config = fitted(config, "train")
    check_prompts(config, "train", [config.prompting.render(problem_of(row)) for row in rows])
    already = (folder / "final").is_dir()
    if not already:
        check_spelling(config.model, [config.prompting.render(problem_of(row)) for row in rows])
        _check_reward(config)
    if (processes > 1 or layout is not None) and not already:
        from sent_rl.trainers.trl.launch import launch

        launch(config, curriculum, folder, processes, layout)
    elif not already:
        console.print("loading the trainer")
    from sent_rl.trainers.trl.run import train as train_with_trl

    trained = train_with_trl(config, rows, folder, StepLines(), _say_where_training_goes_on)
    if already:
        console.print(f"trained already: {trained}")
    return trained


def _check_reward(config: RunConfig) -> None:
    """Import the user's reward function, where there is one; a UserError says what is wrong with it."""
    if config.answers.reward_function is not None:
        load_reward(config.answers.reward_function)


def _say_where_training_goes_on(folder: Path, checkpoint: Path | None) -> None:
    if checkpoint is None:
        console.print(f"{folder}: no whole checkpoint yet; training starts at step 1 again")
    else:
        console.print(f"training goes on after step {checkpoint.name.rpartition('-')[2]}: {checkpoint}")


def evaluate(config: RunConfig, models: Mapping[str, str | None], problems: Sequence[Problem], folder: Path) -> None:
    """Sample every model on the same problems; write samples.parquet and results.json. A model's path None is the configured one."""
    evaluate_sets(config, models, [QuestionSet("", problems, [config.prompting.render(p) for p in problems], folder)])


def evaluate_models(config: RunConfig, models: Mapping[str, str], folder: Path) -> None:
    """Models on the test problems, asked as in the table that these come from and as in training."""
    test = config.problems.test
    problems = test.load("problems.test")
    if isinstance(test, File) and test.path.endswith(".parquet"):
        config = as_in_table(config, Path(test.path), FORM_KEYS)
    evaluate(as_trained(config, models.values()), models, problems, folder)


def evaluate_sets(config: RunConfig, models: Mapping[str, str | None], sets: Sequence[QuestionSet]) -> None:
    """The same for several sets of problems, each in a folder of its own; every model is loaded once."""
    sampled = [path or config.model.path for path in models.values()]
    config = fitted(config, "evaluate", models=sampled)
    section = config.evaluate
    for path in models.values():  # before anything is written
        check_engine(config.engine, config.model, [p for questions in sets for p in questions.prompts], path)
    for questions in sets:
        check_prompts(config, "evaluate", questions.prompts, sampled)
    paths = {name: path if path is None or not Path(path).exists() else str(Path(path).resolve()) for name, path in models.items()}
    settings = {key: dump_config(config)[key] for key in ("seed", "model", "prompting", "answers", "evaluate")}
    for questions in sets:
        claim_set(questions, {**settings, "models": paths, "sampled_with": config.engine.kind}, _renewed_evaluation)
    samplers = {
        name: Sampler(config.engine, config.model, path, number, section.samples, section.sampling, config.seed)
        for number, (name, path) in enumerate(models.items())
    }
    for questions in sets:
        if questions.is_done:
            console.print(f"evaluated already: {questions.folder}")
    draw(samplers, sets, progress)
    for questions in sets:
        if not questions.is_done:
            readers = {n: _reader(config, config.answers.read, questions.prompts, p) for n, p in paths.items()}
            judge_drawn(samplers, questions, readers, section.k)


def evaluate_benchmarks(
    config: RunConfig,
    models: Mapping[str, str | None],
    names: Sequence[str],
    folder: Path,
    *,
    data: Path | None = None,
    responses: Path | None = None,
    paper: Sequence[str] = (),
) -> None:
    """Benchmarks by name (``paper``: its six), each in a folder of its own below ``folder``, and one table over all of them.

    Args:
        data: folder with copies; the Hub is asked where there is none.
        responses: a file of responses that were drawn elsewhere, to judge instead of sampling ``models``.
        paper: arms of the paper's tables to show beside.
    """
    names = _spelled_out(names)
    config = as_trained(config, filter(None, models.values()), BENCHMARK_KEYS)
    for arm in paper:
        paper_arm(arm)  # before anything is sampled
    sets = _benchmark_sets(config, names, data, folder)
    if responses is None:
        evaluate_sets(config, models, sets)
    else:
        _judge_recorded(config, responses, sets)
    write_benchmarks(folder, names, paper)
    console.print((folder / "table.txt").read_text(encoding="utf-8"), end="")
    console.print(f"tables: {folder / 'table.html'}, table.md, table.tex; all numbers: {folder / 'results.json'}")


def _renewed_evaluation(written: Mapping[str, Any]) -> dict[str, Any]:
    return {"sampled_with": "transformers", **renewed(written)}  # there was no other engine before this was written down


def check_overlap(
    config: RunConfig, names: Sequence[str], out: Path, *, data: Path | None = None, clean: Path | None = None, schema: RowSchema = "plain"
) -> None:
    """Look for the training problems in benchmarks and among themselves; write the report, and the clean rest where asked to."""
    train = config.problems.train.load()
    found = overlap_report(train, {name: load_benchmark(name, data) for name in _spelled_out(names)})
    if clean is not None:
        left = cleaned(train, found)
        write_problems(left, clean, schema)
        console.print(f"{len(left)} of {len(train)} problems left: {clean}")
    write_json(out, {"train": config.problems.train.model_dump(mode="json"), **found})
    for name, counts in found["benchmarks"].items():
        console.print(
            f"{benchmark(name).title:14} {counts['full']} of {counts['problems']} re-appear word by word, "
            f"{counts['prefix']} by their beginning, {counts['ngram']} in parts"
        )
    repeated = sum(len(group) - 1 for group in found["duplicates"])
    console.print(
        f"training set: {repeated} of {found['problems']} problems are repetitions, {len(found['conflicts'])} groups of them disagree"
    )
    console.print(f"report: {out}")


def export_verl(config: RunConfig, folder: Path, *, curriculum: Path | None = None, **options: Any) -> None:
    """The recipe as a verl job in ``folder``; ``options`` as of :func:`sent_rl.trainers.verl.export.export`."""
    from sent_rl.trainers.verl.export import export

    rows = None
    if curriculum is not None:
        rows = read_table(curriculum, ("id", "prompt", "answer", "stage"))
        config = as_in_table(config, curriculum)
    config = fitted(config, "train")
    train = config.problems.train.load() if rows is None else []
    options["gpus"] = options.get("gpus") or config.hardware.gpus
    export(config, folder, curriculum=rows, train=train, test=config.problems.test.load("problems.test"), **options)
    console.print(f"verl job: bash {folder / 'command.sh'}; on several machines first {folder / 'cluster.sh'}")


def _spelled_out(names: Sequence[str]) -> list[str]:
    if not names:
        raise UserError("--benchmarks: names with commas between them, e.g. aime24,math500; or paper, for its six")
    return list(dict.fromkeys(each for name in names for each in (PAPER_BENCHMARKS if name == "paper" else (name,))))


def _judge_recorded(config: RunConfig, path: Path, sets: Sequence[QuestionSet]) -> None:
    recorded, n = read_recorded(path), config.evaluate.samples
    settings = {key: dump_config(config)[key] for key in ("answers", "evaluate")}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = {p.id for questions in sets for p in questions.problems}
    unknown = {problem for of_model in recorded.values() for problem in of_model} - known
    if unknown:
        console.print(f"warning: {len(unknown)} problems of {path} are in none of these benchmarks, e.g. {min(unknown)!r}")

    def responses(questions: QuestionSet) -> dict[str, Iterator[tuple[Problem, list[Response]]]]:
        return {model: responses_to(questions.problems, of_model, n, path) for model, of_model in recorded.items()}

    for questions in sets:  # before anything is written
        for pairs in responses(questions).values():
            deque(pairs, maxlen=0)
    for questions in sets:
        claim_set(questions, {**settings, "responses": digest}, renewed)
        if not questions.is_done:
            reader = partial(config.answers.read, opened=config.answers.opened or False)
            judge(responses(questions), questions, dict.fromkeys(recorded, reader), config.evaluate.k)


def _benchmark_sets(config: RunConfig, names: Sequence[str], data: Path | None, folder: Path) -> list[QuestionSet]:
    """The question sets; asked as the benchmark is declared, unless the recipe has a template of its own."""
    sets = []
    for name in names:
        problems = load_benchmark(name, data)
        own = "template" in config.prompting.model_fields_set
        prompting = config.prompting if own else config.prompting.model_copy(update={"template": benchmark(name).prompt})
        sets.append(QuestionSet(name, problems, [prompting.render(p) for p in problems], folder / name))
    return sets


def check(config: RunConfig, folder: Path, train_problems: Sequence[Problem], test_problems: Sequence[Problem]) -> None:
    """Refuse before anything is written or sampled what a later step would refuse, and warn of test problems that are trained on.

    Raises:
        UserError: stages or steps that don't fit the problems, a model that isn't there, or settings that TRL does not accept.
    """
    if config.engine.kind == "openai":
        raise UserError("engine.kind: a server does not have the trained model; use transformers or vllm here, or go step by step")
    to_train, to_test = ([config.prompting.render(p) for p in each] for each in (train_problems, test_problems))
    check_engine(config.engine, config.model, [*to_train, *to_test])
    check_prompts(config, "score", to_train)
    check_prompts(config, "train", to_train)
    check_prompts(config, "evaluate", to_test)
    if not (folder / "training" / "final").is_dir():
        _check_reward(config)
        from sent_rl.trainers.trl.run import training_arguments
        from sent_rl.trainers.trl.stages import StagePlan

        arguments = training_arguments(config, folder / "training")
        if config.stage.thresholds is None:
            sizes = equal_sizes(len(train_problems), config.stage.stages)
            StagePlan([stage for stage, size in enumerate(sizes) for _ in range(size)], arguments)
    both = {p.prompt for p in train_problems} & {p.prompt for p in test_problems}
    if both:
        console.print(f"warning: {len(both)} of the test problems are also training problems, e.g. {min(both)[:60]!r}")
