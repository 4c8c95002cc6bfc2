"""What a recipe will cost, before anything is loaded: tokens, memory a GPU, hours. Estimates, with their formulas (docs/scale.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sent_rl.config import Hardware, RunConfig
from sent_rl.errors import UserError
from sent_rl.models import resolve_model
from sent_rl.problems.sources import File, Hub

USED = 0.35
"""Share of a GPU's arithmetic, or of its memory traffic, that training and sampling reach. A rule of thumb, not a measurement."""
LAUNCH = {"transformers": 1e-3, "vllm": 5e-5}
"""Seconds that a layer takes for one token of every sequence even where it has nothing to do: without and with CUDA graphs."""

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
"""Name -> GB of memory, dense bfloat16 TFLOP/s, GB/s of memory traffic, as their makers state them."""

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
    at_once = {"score": config.score.sampling, "evaluate": config.evaluate.sampling}
    hours = {}
    for step, tokens in drawn.items():
        if step == "train":
            kind, longest, most = "vllm" if config.train.trl.get("use_vllm") else config.engine.kind, config.train.max_tokens, responses
        else:
            sampling = at_once[step]
            kind, longest = config.engine.kind, sampling.max_tokens
            most = sampling.batch_size or config.engine.batch_size
        hours[step] = sampling_hours(shape, hardware, tokens, longest, most, "vllm" if kind == "openai" else kind)
    updates = training_hours(config, shape, drawn["train"])
    lines = [
        f"price on {hardware.gpus} x {hardware.gpu}, if every response were as long as allowed; formulas in docs/scale.md, not measured",
        f"{shape.parameters / 1e6:,.1f} million parameters; {train:,} training problems, {rollouts:,} rollouts of {responses:,} responses",
    ]
    for step, tokens in drawn.items():
        more = f", updates {_long(updates)}" if step == "train" else ""
        lines.append(f"{step}: at most {_many(tokens)} tokens; sampling {_long(hours[step])}{more}")
    lines.append(f"together {_long(sum(hours.values()) + updates)}")
    room = GPUS[hardware.gpu][0]
    layouts = {hardware.gpus: "in shards over all GPUs (fsdp2)"} | {1: "the whole model on every GPU"}
    for shards, layout in sorted(layouts.items()):
        need = memory(config, shape, shards)
        fits = "fits" if need < 0.95 * room else "DOES NOT FIT without offloading"
        lines.append(f"memory for an update, {layout}: {need:.1f} GB of {room:g}: {fits}")
    return lines


def _many(count: int) -> str:
    return f"{count / 1e6:,.1f} million" if count >= 1e6 else f"{count:,}"


def _long(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def sampling_hours(shape: Shape, hardware: Hardware, tokens: int, longest: int, most: int, kind: str) -> float:
    """Each GPU with the whole model: one token of ``at_once`` sequences takes the longest of three times.

    Reading weights and cache (bytes / (USED * traffic)), arithmetic (flops / (USED * peak)), and launching (LAUNCH * layers).
    """
    gigabytes, teraflops, traffic = GPUS[hardware.gpu]
    room = 0.85 * gigabytes * 1e9 - 2 * shape.parameters
    at_once = max(1, min(most, int(room / (shape.cache * longest))))
    reading = (2 * shape.parameters + at_once * shape.cache * longest / 2) / (USED * traffic * 1e9)
    computing = at_once * shape.flops / (USED * teraflops * 1e12)
    return tokens / hardware.gpus / at_once * max(reading, computing, LAUNCH[kind] * shape.layers) / 3600


def training_hours(config: RunConfig, shape: Shape, tokens: int) -> float:
    """Forward passes' worth a token: 3 for the update, 1 with checkpointing, 1 for old log-probs, 1 for a reference."""
    passes = 3 + bool(config.train.gradient_checkpointing) + 1 + _has_reference(config)
    peak = GPUS[config.hardware.gpu][1] * 1e12 * config.hardware.gpus
    return tokens * passes * shape.flops / (USED * peak) / 3600


def memory(config: RunConfig, shape: Shape, shards: int) -> float:
    """GB of one GPU during an update.

    Weights, gradients and Adam's two moments in the weights' type (with LoRA the weights alone), and a reference where one is needed,
    all over ``shards``. Activations in bfloat16 of one micro-batch: 34 hidden a token and layer, or with checkpointing 2 hidden a layer
    and 34 once. Logits as TRL has them: tiles of 4,096 tokens and 32,768 words, three of them in float32.
    """
    each = 2 if config.model.dtype == "bfloat16" else 4
    trained = each if config.train.lora is not None else 4 * each
    held = shape.parameters * (trained + each * (_has_reference(config) and config.train.lora is None)) / shards
    tokens = config.train.responses_per_pass * config.train.max_tokens
    if config.train.gradient_checkpointing:
        activations = tokens * shape.hidden * (2 * shape.layers + 34)
    else:
        activations = tokens * shape.hidden * 34 * shape.layers
    logits = 3 * 4 * min(tokens, 4096) * min(shape.vocab, 32768)
    return (held + activations + logits) / 1e9


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
