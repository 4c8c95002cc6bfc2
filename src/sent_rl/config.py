"""The configuration of a run: one YAML file, checked once, here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, SerializeAsAny, ValidationError, field_validator, model_validator

from sent_rl.answers import (
    DEFAULT_STRATEGIES,
    LOOSE_STRATEGIES,
    STRATEGIES,
    ends_in_thought,
    extract,
)
from sent_rl.curriculum.entropy import Unparsed
from sent_rl.curriculum.stages import Order
from sent_rl.errors import UserError, nearest
from sent_rl.files import read_text
from sent_rl.methods import Method, get, resolve
from sent_rl.models import ModelConfig, load_tokenizer, render
from sent_rl.problems import Prompting, Source, parse_source
from sent_rl.problems.sources import Arithmetic, File, Gym, Hub
from sent_rl.rollouts import EngineConfig, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_DEFAULT_METHOD = "sent"
_SOURCES: dict[str, type[BaseModel]] = {kind.model_fields["kind"].default: kind for kind in (Arithmetic, Gym, File, Hub)}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Problems(_Section):
    """The questions to train on and, apart from them, those to test on."""

    train: Source = Field(default_factory=lambda: Arithmetic(), description="training problems")
    test: Source = Field(default_factory=lambda: Arithmetic(split="test"), description="held-out problems; arithmetic: split test")

    @field_validator("test", mode="before")
    @classmethod
    def _held_out(cls, value: Any) -> Any:
        """Arithmetic to test on is of the split ``test`` unless it says otherwise."""
        parsed = parse_source(value)
        return {"split": "test", **parsed} if isinstance(parsed, dict) and parsed.get("kind") == "arithmetic" else parsed


class Answers(_Section):
    """How a final answer is found in a response: for the evaluation, the reward and the scores."""

    extract: list[str] = Field(
        list(DEFAULT_STRATEGIES),
        min_length=1,
        description=f"strategies of the evaluation in order, of {', '.join(STRATEGIES)}",
    )
    reward: list[str] | None = Field(
        None,
        min_length=1,
        description=f"strategies of the training reward; null: extract without {', '.join(LOOSE_STRATEGIES)}",
    )
    score: list[str] | None = Field(
        None,
        min_length=1,
        description="strategies of the scores and of online curricula; null: as the reward",
    )
    thoughts: bool = Field(False, description="look inside <think>...</think> too; of an unclosed thought nothing counts otherwise")
    opened: bool | None = Field(
        None,
        description="whether prompts end in an open <think>; null: as the rendered prompt says "
        "(false where it is not known: chat on a server, recorded responses)",
    )

    @field_validator("extract", "reward", "score")
    @classmethod
    def _known(cls, strategies: list[str] | None) -> list[str] | None:
        for name in strategies or []:
            if name not in STRATEGIES:
                raise ValueError(f"unknown strategy {name!r}; {nearest(name, STRATEGIES)}")
        return strategies

    @model_validator(mode="after")
    def _rewards_something(self) -> Answers:
        if not self.of_reward:
            raise ValueError(
                f"answers.extract: the training reward does not read {', '.join(self.extract)} unless it is told to"
                " (a response that was cut short may hold it); name what it reads, e.g. answers.reward=[boxed]"
            )
        return self

    @property
    def of_reward(self) -> list[str]:
        """Strategies of the training reward: by default none that pays a response cut before its answer."""
        if self.reward is not None:
            return self.reward
        return [name for name in self.extract if name not in LOOSE_STRATEGIES]

    @property
    def of_scores(self) -> list[str]:
        """Strategies of semantic entropy and pass rate."""
        return self.of_reward if self.score is None else self.score

    def read(self, response: str, finished: bool = True, opened: bool = False) -> str | None:
        """The final answer of a response, as the evaluation reads it.

        Args:
            finished: the response was not cut at its token limit. Of one that was, only what it
                states in a format counts, where ``extract`` has such a strategy.
            opened: the prompt ends in an open ``<think>``; see :meth:`RunConfig.opens_thought`.
        """
        strict = [name for name in self.extract if name not in LOOSE_STRATEGIES]
        strategies = self.extract if finished or not strict else strict
        return extract(response, strategies, thoughts=self.thoughts, opened=opened)

    def read_for_reward(self, response: str, opened: bool = False) -> str | None:
        """The final answer as the training reward wants it."""
        return extract(response, self.of_reward, thoughts=self.thoughts, opened=opened)

    def read_for_scores(self, response: str, opened: bool = False) -> str | None:
        """The final answer as semantic entropy and pass rate count it."""
        return extract(response, self.of_scores, thoughts=self.thoughts, opened=opened)


class Score(_Section):
    """Semantic entropy of the training problems under the initial policy."""

    samples: int = Field(8, ge=2, description="responses a problem")
    weights: Literal["counts", "likelihood"] = Field("counts", description="what a response weighs: 1, or its length-normalised likelihood")
    unparsed: Unparsed = Field("shared", description="answers that cannot be read: one cluster (shared) or one each (separate)")
    sampling: Sampling = Sampling()


class Stage(_Section):
    """How the scored problems are cut."""

    stages: int = Field(2, ge=1, description="equal parts, where no thresholds are given")
    order: Order = Field("ascending", description="ascending, descending or random")
    thresholds: list[float] | None = Field(None, description="semantic entropies in nats to cut at, instead of equal parts")


class Train(_Section):
    """Reinforcement learning with TRL."""

    steps: int | None = Field(None, ge=1, description="optimizer steps in all, shared out among the stages; overrides passes")
    passes: int = Field(1, ge=1, description="passes over the problems of each stage")
    questions_per_step: int = Field(16, ge=1, description="questions of one rollout")
    generations: int = Field(8, ge=2, description="responses to each of them (the group)")
    updates_per_rollout: int = Field(1, ge=1, description="optimizer steps on each rollout; they share it out (mini-batches)")
    micro_batch: int | None = Field(None, ge=1, description="responses a forward pass; all of a step's where not given")
    learning_rate: float = Field(1e-6, ge=0, description="peak learning rate")
    kl_coef: float = Field(0.0, ge=0, description="KL to the initial policy (k3) on every token, besides what the method does")
    temperature: float = Field(1.0, gt=0, description="of the responses trained on")
    max_tokens: int = Field(2048, ge=1, description="longest response trained on, in tokens")
    stage_reset: list[Literal["optimizer", "schedule", "reference"]] = Field(
        default_factory=list, description="what each stage after the first starts anew: optimizer, schedule, reference"
    )
    lora: dict[str, Any] | None = Field(
        None, description="train an adapter: what peft.LoraConfig takes, e.g. {r: 16, lora_alpha: 32}; merged into final/ at the end"
    )
    gradient_checkpointing: bool = Field(False, description="compute activations anew in the backward pass, to save memory")
    save_steps: int = Field(50, ge=1, description="optimizer steps between checkpoints")
    report_to: list[str] = Field(["tensorboard"], description="TRL's loggers: tensorboard, wandb, trackio, ...; [] for none")
    trl: dict[str, Any] = Field(default_factory=dict, description="anything else that TRL's GRPOConfig takes, by its name there")

    @model_validator(mode="after")
    def _divisible(self) -> Train:
        responses = self.questions_per_step * self.generations
        if responses % self.updates_per_rollout:
            raise ValueError(f"updates_per_rollout {self.updates_per_rollout} does not divide the {responses} responses of a step")
        if (responses // self.updates_per_rollout) % self.responses_per_pass:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide the {responses // self.updates_per_rollout} of an update")
        return self

    @property
    def responses_per_pass(self) -> int:
        return self.micro_batch or self.questions_per_step * self.generations // self.updates_per_rollout


class Evaluate(_Section):
    """Pass@K and Avg@K on the test problems."""

    samples: int = Field(32, ge=1, description="responses a problem; every K is estimated from them")
    k: list[int] = Field([1, 8, 16, 32], min_length=1, description="the K of Pass@K and Avg@K, samples at most")
    sampling: Sampling = Sampling()

    @model_validator(mode="after")
    def _enough(self) -> Evaluate:
        if not all(1 <= k <= self.samples for k in self.k):
            raise ValueError(f"every k must lie between 1 and samples ({self.samples}), not {self.k}")
        return self


class Hardware(_Section):
    """What `sent run --dry-run` reckons with; it decides nothing else."""

    gpu: Literal["rtx3090", "rtx4090", "l4", "a10", "a100-40", "a100-80", "h100", "h200"] = Field("h100", description="kind of GPU")
    gpus: int = Field(1, ge=1, description="how many")


def _method(value: Any) -> Method:
    """A method from its name or from a mapping, where the name may be left out; errors are the method's own."""
    if isinstance(value, Mapping):
        return resolve({"name": _DEFAULT_METHOD, **value})
    return resolve(value)


class RunConfig(_Section):
    """Everything that decides a run."""

    name: str = Field("run", description="names the run directory", pattern=r"^[\w.-]+$")
    description: str = Field("", description="what this recipe is for")
    seed: int = Field(0, ge=0, lt=2**32, description="of sampling, order and training")
    model: ModelConfig = ModelConfig()
    problems: Problems = Problems()
    prompting: Prompting = Prompting()
    answers: Answers = Answers()
    engine: EngineConfig = EngineConfig()
    score: Score = Score()
    stage: Stage = Stage()
    method: Annotated[SerializeAsAny[Method], PlainValidator(_method)] = Field(default_factory=lambda: get(_DEFAULT_METHOD))
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    hardware: Hardware = Hardware()

    def opens_thought(
        self,
        prompt: str | list[dict[str, str]],
        path: str | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        **options: Any,
    ) -> bool:
        """Whether responses to ``prompt`` begin inside a thought that the prompt has opened.

        ``answers.opened`` decides where it is set; else the end of the rendered prompt.

        Args:
            prompt: text, or chat messages.
            path: of the model whose chat template renders it, where it is not the configured one.
            tokenizer: of that model, where it is loaded already.
            options: of the chat template, such as ``enable_thinking``.

        Raises:
            UserError: as :func:`sent_rl.models.load_tokenizer`.
        """
        if self.answers.opened is not None:
            return self.answers.opened
        if isinstance(prompt, str):
            return ends_in_thought(prompt)
        return ends_in_thought(render(tokenizer or load_tokenizer(self.model, path), prompt, **options))


def renewed(written: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that an earlier version wrote, or some of its sections, with the keys that have come since; other things stay.

    A new key's default is what was done before there was the key, so the two mean the same run.
    """
    known = {key: value for key, value in written.items() if key in RunConfig.model_fields}
    try:
        now = dump_config(config_from_tree(known, "written"))
    except UserError:  # a key that is gone: the difference will be named
        return dict(written)
    whole = now if "name" in known else {key: now[key] for key in known}
    return {**written, **whole}


def recipe_names() -> list[str]:
    """The recipes that ship with the package."""
    folder = resources.files("sent_rl") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(recipe: str | Path | None, settings: Sequence[str] = (), values: Mapping[str, Any] | None = None) -> RunConfig:
    """A recipe by name or file, with ``values`` by dotted key and then ``key=value`` settings on top; None for the defaults.

    Raises:
        UserError: an unknown recipe, key or method, or a value that does not fit.
    """
    tree = {} if recipe is None else read_tree(str(recipe))
    for key, value in (values or {}).items():
        merge(tree, key, value)
    for setting in settings:
        _apply(tree, setting)
    return config_from_tree(tree, str(recipe or "settings"))


def config_from_tree(tree: Mapping[str, Any], origin: str) -> RunConfig:
    """A checked configuration from nested mappings; ``origin`` is named in errors."""
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{origin}: {_first_message(error)}") from error


def read_tree(recipe: str) -> dict[str, Any]:
    """A recipe by name or file as nested mappings, not yet checked.

    Raises:
        UserError: no such recipe, or not a mapping in YAML.
    """
    path = Path(recipe)
    if recipe in recipe_names():
        text = (resources.files("sent_rl") / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8")
    elif path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{recipe}: no such recipe file")
        text = read_text(path)
    else:
        raise UserError(f"unknown recipe {recipe!r}; {nearest(recipe, recipe_names())}, or the path of a .yaml file")
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{recipe}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(tree, dict):
        raise UserError(f"{recipe}: a recipe is a mapping of keys to values")
    return tree


def _apply(tree: dict[str, Any], setting: str) -> None:
    """Put ``a.b=value`` into the tree; the value is YAML."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise UserError(f"--set {setting}: write key=value, e.g. train.steps=100")
    try:
        value = _number(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise UserError(f"--set {setting}: the value is not YAML") from error
    merge(tree, key, value)


def merge(tree: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at the dotted key of a tree. A short form on the way (a method's name, a source) becomes the mapping it stands for."""
    *parents, leaf = key.split(".")
    for parent in parents:
        below = tree.setdefault(parent, {})
        if not isinstance(below, dict):
            below = tree[parent] = {"name": below} if parent == "method" else _as_mapping(parent, below)
        tree = below
    tree[leaf] = value


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 as text, but whoever writes it means the number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _as_mapping(key: str, value: Any) -> dict[str, Any]:
    parsed = parse_source(value)
    if key in ("train", "test") and isinstance(parsed, dict):
        return dict(parsed)
    raise UserError(f"{key!r} holds {value!r}, which has no keys below it")


def _first_message(error: ValidationError) -> str:
    """The first complaint of pydantic in one line that names the key, and the nearest right key for a typo."""
    first = error.errors()[0]
    path = _without_tags(first["loc"])
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'; {nearest(path[-1], _keys_at(path[:-1], first['loc']))}"
    cause = first.get("ctx", {}).get("error")
    message = str(cause) if cause is not None else f"{first['msg']} (got {first['input']!r})"
    return message if not key or message.startswith(key) else f"{key}: {message}"


def _without_tags(loc: Sequence[int | str]) -> list[str]:
    """Pydantic puts the kind of a source into the path of an error; the user's file has no such level."""
    parts = [str(part) for part in loc]
    return [p for i, p in enumerate(parts) if not (i > 0 and parts[i - 1] in ("train", "test") and p in _SOURCES)]


def _keys_at(path: Sequence[str], loc: Sequence[int | str]) -> list[str]:
    """The keys that a section knows."""
    model: type[BaseModel] = RunConfig
    for part in path:
        annotation = model.model_fields[part].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
        else:  # a source: its kind stands in the location
            model = next(_SOURCES[str(p)] for p in loc if str(p) in _SOURCES)
    return list(model.model_fields)


def dump_config(config: RunConfig) -> dict[str, Any]:
    """The resolved configuration as plain values."""
    tree: dict[str, Any] = config.model_dump(mode="json")
    return tree


__all__ = ["Method", "RunConfig", "config_from_tree", "dump_config", "load_config", "recipe_names"]
