"""What a recipe may say: every key, checked once, here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, SerializeAsAny, field_validator, model_validator

from sent_rl.answers import (
    DEFAULT_STRATEGIES,
    LOOSE_STRATEGIES,
    STRATEGIES,
    ends_in_thought,
    extract,
)
from sent_rl.curriculum import counted_answer
from sent_rl.curriculum.entropy import Unparsed
from sent_rl.curriculum.stages import Order
from sent_rl.errors import nearest
from sent_rl.methods import Method, get, resolve
from sent_rl.models import ModelConfig, load_tokenizer, render
from sent_rl.problems import Prompting, Source, parse_source
from sent_rl.problems.sources import Arithmetic
from sent_rl.rollouts import EngineConfig, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_METHOD = "sent"
StageReset = Literal["optimizer", "schedule", "reference"]


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
    reward_function: str | None = Field(
        None,
        description="the training reward as a function of yours, my_package.my_module:reward "
        "(docs/rewards.md); scores and evaluation still compare answers",
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

    @field_validator("reward_function")
    @classmethod
    def _import_path(cls, path: str | None) -> str | None:
        module, _, attribute = (path or "module:name").partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
            raise ValueError(f"answers.reward_function: {path!r}; write my_package.my_module:reward")
        return path

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

    def read_for_reward(self, response: str, finished: bool = True, opened: bool = False) -> str | None:
        """The final answer as the training reward wants it: by the same rule as for the scores."""
        return counted_answer(response, finished, self.of_reward, thoughts=self.thoughts, opened=opened)

    def read_for_scores(self, response: str, finished: bool = True, opened: bool = False) -> str | None:
        """The final answer as semantic entropy and pass rate count it."""
        return counted_answer(response, finished, self.of_scores, thoughts=self.thoughts, opened=opened)


class Score(_Section):
    """Semantic entropy of the training problems under the initial policy."""

    samples: int = Field(8, ge=2, description="responses a problem")
    weights: Literal["counts", "likelihood"] = Field("counts", description="what a response weighs: 1, or its length-normalised likelihood")
    unparsed: Unparsed = Field(
        "separate",
        description="responses without an answer: one cluster each (separate) or one in all (shared); docs/curriculum.md",
    )
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
    stage_reset: list[StageReset] = Field(
        default_factory=list, description="what each stage after the first starts anew: optimizer, schedule, reference"
    )
    lora: dict[str, Any] | None = Field(
        None, description="train an adapter: what peft.LoraConfig takes, e.g. {r: 16, lora_alpha: 32}; merged into final/ at the end"
    )
    gradient_checkpointing: bool = Field(False, description="compute activations anew in the backward pass, to save memory")
    offload: bool = Field(
        False,
        description="keep weights, gradients, optimizer state and reference in main memory, and a layer on the GPU while it is"
        " used; with --layout fsdp2 or zero3",
    )
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


_USUAL_K, _USUAL_SAMPLES = (1, 8, 16, 32), 32


def _k_up_to_samples(given: Mapping[str, Any]) -> list[int]:
    """The default K: the usual ones that so many samples allow, and all of them."""
    samples: int = given.get("samples", _USUAL_SAMPLES)
    return [*(k for k in _USUAL_K if k < samples), samples]


class Evaluate(_Section):
    """Pass@K and Avg@K on the test problems."""

    samples: int = Field(_USUAL_SAMPLES, ge=1, description="responses a problem; every K is estimated from them")
    k: list[int] = Field(
        default_factory=_k_up_to_samples,
        min_length=1,
        description="the K of Pass@K and Avg@K, samples at most; by default samples itself and those of 1, 8, 16, 32 below it",
    )
    sampling: Sampling = Sampling()

    @model_validator(mode="after")
    def _enough(self) -> Evaluate:
        if not all(1 <= k <= self.samples for k in self.k):
            raise ValueError(
                f"evaluate.k: every k must lie between 1 and samples ({self.samples}), not {self.k}; change k (--k) or samples (--n)"
            )
        return self


class Hardware(_Section):
    """What `sent run --dry-run` reckons with; it decides nothing else."""

    gpu: Literal["rtx3090", "rtx4090", "l4", "a10", "a100-40", "a100-80", "h100", "h200"] = Field("h100", description="kind of GPU")
    gpus: int = Field(1, ge=1, description="how many")


def _method(value: Any) -> Method:
    """A method from its name or from a mapping, where the name may be left out; errors are the method's own."""
    if isinstance(value, Mapping):
        return resolve({"name": DEFAULT_METHOD, **value})
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
    method: Annotated[SerializeAsAny[Method], PlainValidator(_method)] = Field(default_factory=lambda: get(DEFAULT_METHOD))
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
