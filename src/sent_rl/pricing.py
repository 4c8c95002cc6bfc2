"""What a recipe will cost, before anything is loaded. Estimates, with formulas (docs/scale.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sent_rl.config import Hardware, RunConfig
from sent_rl.errors import UserError
from sent_rl.models import resolve_model
from sent_rl.problems.sources import File, Hub
from sent_rl.rollouts import Sampling

USED = 0.35
"""Share of a GPU's arithmetic, or of its memory traffic, that training and sampling reach. A rule
of thumb, not a measurement.
"""
LAUNCH = {"transformers": 1e-3, "vllm": 5e-5}
"""Seconds that a layer takes for one token of every sequence even where it has nothing to do:
without and with CUDA graphs.
"""

TRANSFER = 25
"""GB/s between main memory and a GPU, about what PCIe 4.0 with 16 lanes reaches. Not measured."""

GPUS: dict[str, tuple[float, float, float]] = {
    "rtx3090": (24, 71, 936),
    "rtx4090": (24, 165, 1008),
    "l4": (24, 121, 300),
    "a10": (24, 125, 600),
    "a100-40": (40, 312, 1555),
    "a100-80": (80, 312, 2039),
    "h100": (80, 989, 3350),
    "h200": (141, 989, 4800),
}
"""Name -> GB of memory, dense bfloat16 TFLOP/s, GB/s of memory traffic, as the makers say."""

SHAPES: dict[str, dict[str, Any]] = {
    "smollm2": {"hidden": 576, "layers": 30, "kv_dim": 192, "vocab": 49152, "parameters": 134_515_008},
    "Qwen/Qwen2.5-0.5B-Instruct": {"hidden": 896, "layers": 24, "kv_dim": 128, "vocab": 151936, "parameters": 494_032_768},
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": {
        "hidden": 1536, "layers": 28, "kv_dim": 256, "vocab": 151936, "parameters": 1_777_088_000,
    },
    "Qwen/Qwen2.5-Math-7B": {"hidden": 3584, "layers": 28, "kv_dim": 512, "vocab": 152064, "parameters": 7_615_616_512},
    "Qwen/Qwen3-14B": {"hidden": 5120, "layers": 40, "kv_dim": 1024, "vocab": 151936, "parameters": 14_768_307_200},
}  # fmt: skip
"""The models of the recipes, so that their price needs no network."""


@dataclass(frozen=True)
class Shape:
    """What a model's cost follows from; ``kv_dim``: key heads times their size."""

    hidden: int
    layers: int
    kv_dim: int
    vocab: int
    parameters: int

    @property
    def flops(self) -> float:
        """Of one token's forward pass."""
        return 2.0 * self.parameters

    @property
    def cache(self) -> int:
        """Bytes of one token's keys and values in bfloat16."""
        return 4 * self.layers * self.kv_dim


def shape_of(path: str) -> Shape:
    """A model's shape, from the list above, or from its config.json and a model without weights.

    Raises:
        UserError: a model that cannot be looked up.
    """
    if path in SHAPES:
        return Shape(**SHAPES[path])
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(resolve_model(path))
    except (OSError, ValueError) as error:
        raise UserError(f"model.path: the size of {path!r} is not known here, and its config.json cannot be read") from error
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    parameters = sum(p.numel() for p in model.parameters())
    return Shape(text.hidden_size, text.num_hidden_layers, heads * size, text.vocab_size, parameters)


def price_lines(config: RunConfig) -> list[str]:
    """The price of a recipe on its ``hardware``, in words.

    Raises:
        UserError: the model's size or the number of problems is not known.
    """
    shape, hardware = shape_of(config.model.path), config.hardware
    train, test = (_count(source, key) for source, key in ((config.problems.train, "train"), (config.problems.test, "test")))
    rollouts = _rollouts(config, train)
    responses = config.train.questions_per_step * config.train.generations
    drawn = {
        "score": train * config.score.samples * config.score.sampling.max_tokens,
        "train": rollouts * responses * config.train.max_tokens,
        "evaluate": 2 * test * config.evaluate.samples * config.evaluate.sampling.max_tokens,
    }
    hours = {
        "score": _engine_hours(config, shape, train * config.score.samples, config.score.sampling),
        "train": rollouts * _rollout_hours(config, shape),
        "evaluate": _engine_hours(config, shape, 2 * test * config.evaluate.samples, config.evaluate.sampling),
    }
    updates = training_hours(config, shape, drawn["train"])
    lines = [
        f"price on {hardware.gpus} x {hardware.gpu}, if every response were as long as allowed; formulas in docs/scale.md, not measured",
        f"{shape.parameters / 1e6:,.1f} million parameters; {train:,} training problems, {rollouts:,} rollouts of {responses:,} responses",
    ]
    for step, tokens in drawn.items():
        more = f", updates {_long(updates)}" if step == "train" else ""
        lines.append(f"{step}: at most {_many(tokens)} tokens; sampling {_long(hours[step])}{more}")
    return [*lines, f"together {_long(sum(hours.values()) + updates)}", *_memory_lines(config, shape)]


def _memory_lines(config: RunConfig, shape: Shape) -> list[str]:
    """What an update takes in each layout that the recipe allows, and whether it fits."""
    hardware, room = config.hardware, GPUS[config.hardware.gpu][0]
    layouts = {hardware.gpus: "in shards over all GPUs (fsdp2)", 1: "the whole model on every GPU"}
    if config.train.offload:
        layouts = {hardware.gpus: "in shards (fsdp2), offloaded"}
    needs = {layout: memory(config, shape, shards) for shards, layout in sorted(layouts.items())}
    lines = []
    for layout, need in needs.items():
        fits = "fits" if need < 0.95 * room else "DOES NOT FIT"
        lines.append(f"memory for an update, {layout}: {need:.1f} GB of {room:g}: {fits}")
    if "reference" in config.train.stage_reset and hardware.gpus > 1:
        lines.append("train.stage_reset: with TRL a new reference needs the whole model on every GPU; with verl shards will do")
    if config.train.offload:
        lines.append(f"main memory for what is offloaded, over all machines: {held(config, shape) / 1e9:,.0f} GB")
    if min(needs.values()) >= 0.95 * room:
        remedy = "lower train.micro_batch" if config.train.offload else "set train.offload=true"
        lines.append(f"warning: no layout fits; {remedy}, or take more or larger GPUs (hardware)")
    return lines


def _many(count: int) -> str:
    return f"{count / 1e6:,.1f} million" if count >= 1e6 else f"{count:,}"


def _long(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _engine_hours(config: RunConfig, shape: Shape, responses: int, sampling: Sampling) -> float:
    """Of score or evaluate: every GPU has an engine, which gets ``batch_size`` responses at a time."""
    most = sampling.batch_size or config.engine.batch_size
    return sampling_hours(shape, config.hardware, responses, sampling.max_tokens, most, _speed(config.engine.kind))


def _rollout_hours(config: RunConfig, shape: Shape) -> float:
    """Of one rollout, whose responses are shared out among the GPUs."""
    train = config.train
    responses = train.questions_per_step * train.generations
    kind = _speed("vllm" if train.trl.get("use_vllm") else config.engine.kind)
    return sampling_hours(shape, config.hardware, responses, train.max_tokens, responses, kind)


def _speed(engine: str) -> str:
    return "vllm" if engine == "openai" else engine


def sampling_hours(shape: Shape, hardware: Hardware, responses: int, longest: int, most: int, kind: str) -> float:
    """Of responses of ``longest`` tokens, shared out among GPUs that each hold the whole model.

    A GPU is given ``most`` of its share at a time, and draws as many of these at once as its memory
    holds, then the next. One token of S sequences takes the longest of three times: reading weights
    and cache (bytes / (USED * traffic)), arithmetic (flops / (USED * peak)), and launching (LAUNCH
    * layers).
    """
    gigabytes, teraflops, traffic = GPUS[hardware.gpu]

    def step(sequences: int) -> float:
        read = 2 * shape.parameters + sequences * shape.cache * longest / 2
        computing = sequences * shape.flops / (USED * teraflops * 1e12)
        return max(read / (USED * traffic * 1e9), computing, LAUNCH[kind] * shape.layers)

    share = -(-responses // hardware.gpus)
    given = min(most, share)
    room = 0.85 * gigabytes * 1e9 - 2 * shape.parameters
    at_once = max(1, min(given, int(room / (shape.cache * longest))))
    full, rest = divmod(given, at_once)
    seconds = longest * (full * step(at_once) + (step(rest) if rest else 0))
    return share / given * seconds / 3600


def training_hours(config: RunConfig, shape: Shape, tokens: int) -> float:
    """Forward passes, and what is moved from and to main memory where the state is offloaded.

    Passes: 3 for the update, 1 with checkpointing, 1 for old log-probs, 1 for a reference. Moved
    once a micro-batch: a GPU's shard of the weights for each forward pass and for the backward
    pass, and its shard of the gradients back.
    """
    train, gpus = config.train, config.hardware.gpus
    passes = 3 + bool(train.gradient_checkpointing) + 1 + _has_reference(config)
    hours = tokens * passes * shape.flops / (USED * GPUS[config.hardware.gpu][1] * 1e12 * gpus) / 3600
    if train.offload:
        micro_batches = tokens / train.max_tokens / gpus / _responses_per_pass(config)
        moved = (4 + _has_reference(config)) * _bytes(config) * shape.parameters / gpus
        hours += micro_batches * moved / (TRANSFER * 1e9) / 3600
    return hours


def memory(config: RunConfig, shape: Shape, shards: int) -> float:
    """GB of one GPU during an update.

    What is :func:`held` over ``shards``; where it is offloaded, instead of it the embeddings, the
    head and two layers, 8 bytes a weight: in bfloat16, with gradients that are summed in float32.
    Activations in bfloat16 of one micro-batch: 34 hidden a token and layer, or with checkpointing 2
    hidden a layer and 34 once. Logits as TRL has them: tiles of 4,096 tokens and 32,768 words,
    three of them in float32. Prompts are not counted.
    """
    state = held(config, shape) / shards
    if config.train.offload:
        ends = 2 * shape.vocab * shape.hidden
        state = 8 * (ends + 2 * max(0, shape.parameters - ends) / shape.layers)
    tokens = _responses_per_pass(config) * config.train.max_tokens
    layers = 2 * shape.layers + 34 if config.train.gradient_checkpointing else 34 * shape.layers
    logits = 3 * 4 * min(tokens, 4096) * min(shape.vocab, 32768)
    return (state + tokens * shape.hidden * layers + logits) / 1e9


def held(config: RunConfig, shape: Shape) -> float:
    """Bytes that last from step to step, of all GPUs together.

    Weights, gradients and Adam's two moments in the weights' type (with LoRA the weights alone),
    and a reference.
    """
    copies = 1 if config.train.lora is not None else 4 + _has_reference(config)
    return shape.parameters * _bytes(config) * copies


def _bytes(config: RunConfig) -> int:
    """Of one weight."""
    return 2 if config.model.dtype == "bfloat16" else 4


def _responses_per_pass(config: RunConfig) -> int:
    """A micro-batch is a GPU's, and no larger than its share of an update."""
    train = config.train
    share = -(-train.questions_per_step * train.generations // train.updates_per_rollout // config.hardware.gpus)
    return min(train.responses_per_pass, share)


def _has_reference(config: RunConfig) -> bool:
    return config.method.needs_reference or config.train.kl_coef > 0


def _rollouts(config: RunConfig, problems: int) -> int:
    section = config.train
    if section.steps is not None:
        return -(-section.steps // section.updates_per_rollout)
    return section.passes * (problems // section.questions_per_step)


def _count(source: Any, name: str) -> int:
    """How many problems a source has; a data set of the Hub is not fetched for that."""
    if source.count is not None:
        return int(source.count)
    if isinstance(source, Hub) or (isinstance(source, File) and not Path(source.path).is_file()):
        raise UserError(f"problems.{name}.count: say how many rows to reckon with; the data are not fetched for a price")
    return len(source.load())
