"""In which precision verl's engines compute entropies, and what bfloat16 does to a selection.

verl 0.9 has one function for float32 (``entropy_from_logits_with_chunking``) and one that works in
the type of the logits (``entropy_from_logits``). Compiled, the second keeps float32 between its
steps. Called as it is, it depends on autocast: on CUDA and on an NPU autocast runs softmax,
logsumexp and sum in float32; on a CPU it does not, and then everything is bfloat16.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sent_rl.errors import UserError
from sent_rl.methods import Method, Rollouts, Treatment

Setting = Callable[..., Any]
"""``setting(key, default)`` of verl's configuration; the default also stands for null."""

ACTOR, MODEL = "actor_rollout_ref.actor", "actor_rollout_ref.model"
_CHUNKING = "entropy_from_logits_with_chunking"
_PROMOTES = ("cuda", "npu")
"""Devices whose autocast runs softmax, logsumexp and sum in float32."""

OVERLAP = {
    ("lowest", 0.1): (0.24, 0.92),
    ("lowest", 0.2): (0.48, 0.96),
    ("lowest", 0.5): (0.92, 0.97),
    ("lowest", 0.8): (0.92, 1.00),
    ("lowest", 0.9): (0.96, 1.00),
    ("highest", 0.1): (0.76, 0.98),
    ("highest", 0.2): (0.71, 1.00),
    ("highest", 0.5): (0.80, 0.98),
    ("highest", 0.8): (0.80, 0.99),
    ("highest", 0.9): (0.90, 0.99),
}
"""Side and share of a selection -> range of the part that is right with bfloat16 entropies: three
kinds of synthetic logits over 151,936 tokens, three seeds, by ``tests/scale/entropy_overlap.py``."""
_LARGEST_ERROR = "0.17 to 0.34"
"""Nats, the same measurement."""


_ROWS, _LENGTH = 8, 125
_SIDES: dict[str, Literal["lowest", "highest"]] = {
    "low_entropy": "lowest",
    "high_entropy": "highest",
}
"""A treatment's selections by entropy, and the end of the order that they take."""


@dataclass(frozen=True)
class EntropyUse:
    """How a method's treatment depends on entropies.

    Attributes:
        side: which end of the order is selected; None for methods that use the values themselves.
        share: of all response tokens, 0 to 1.
    """

    side: Literal["lowest", "highest"] | None
    share: float


def entropy_use(method: Method) -> EntropyUse | None:
    """How a method with its options depends on entropies, None if it does not.

    Found out by a made-up step that is treated twice, with its entropies in another order: so it
    holds for methods that are written later, too.
    """
    rng = torch.Generator().manual_seed(0)
    logps, entropies, advantages = torch.rand(3, _ROWS, _LENGTH, generator=rng).unbind()
    mask = torch.ones(_ROWS, _LENGTH)
    first, second = (method.treat(Rollouts(-logps, values, advantages, mask)) for values in (entropies, entropies.flip(0, 1)))
    if _same(first, second):
        return None
    for name, side in _SIDES.items():
        if name in first.selections:
            return EntropyUse(side, first.selections[name].double().mean().item())
    return EntropyUse(None, 1.0)


def _same(first: Treatment, second: Treatment) -> bool:
    """Whether both treatments have the same loss and select the same tokens."""
    columns = [(t.advantages, t.policy_weight, t.kl_coef, *t.selections.values()) for t in (first, second)]
    return all(torch.equal(*pair) for pair in zip(*columns, strict=True))


@dataclass(frozen=True)
class Engine:
    """How an engine computes entropies.

    Attributes:
        section: of the actor's configuration that has the engine's settings.
        float32: whether its logits, or a kernel of its own, are float32 with these settings.
    """

    section: str
    float32: Callable[[Setting], bool]


def _fused(setting: Setting) -> bool:
    """The fused kernels compute in float32; one of them rounds the result, which keeps the order."""
    return bool(setting(f"{MODEL}.use_fused_kernels", False))


def _fsdp(setting: Setting) -> bool:
    """Without ``mixed_precision`` these engines autocast to bfloat16, whatever ``dtype`` says."""
    precision = setting(f"{ACTOR}.fsdp_config.mixed_precision.param_dtype", "bf16")
    return _fused(setting) or str(precision) in ("32", "fp32", "float32", "torch.float32")


_FSDP = Engine("fsdp_config", _fsdp)
ENGINES = {
    "fsdp": _FSDP,
    "fsdp2": _FSDP,
    "fsdp_turbo": Engine("fsdp_config", _fused),  # autocasts to bfloat16 always, as the next three
    "veomni": Engine("veomni", _fused),
    "torchtitan": Engine("torchtitan", lambda setting: False),
    "automodel": Engine("engine", lambda setting: False),
    # Its last stage returns float32 logits. MindSpeed is this engine on an NPU.
    "megatron": Engine("megatron", lambda setting: True),
}
"""``actor.strategy`` -> engine, of verl 0.9.1."""


def check_entropies(setting: Setting, method: Method) -> None:
    """Refuse an engine that computes entropies in bfloat16, where the method selects by them; warn
    where autocast alone prevents that, and of an engine that is not in the table.

    Raises:
        UserError: names the keys to set.
    """
    use, name = entropy_use(method), setting(f"{ACTOR}.strategy")
    if use is None:
        return
    if name not in ENGINES:
        _warn(
            f"{ACTOR}.strategy: engine {name!r} is unknown here; make sure that it computes entropies in float32; in bfloat16, {cost(use)}"
        )
        return
    missing = [] if ENGINES[name].float32(setting) else _missing(setting, ENGINES[name].section)
    if not missing:
        return
    device, fix = setting("trainer.device", "cuda"), " and ".join(f"{key}=True" for key in missing)
    if device not in _PROMOTES:
        raise UserError(f"{missing[0]}: engine {name!r} computes entropies in bfloat16 on device {device!r}; then, {cost(use)}; set {fix}")
    _warn(
        f"{missing[0]}: engine {name!r} computes entropies in the type of the logits, and only"
        f" autocast on {device!r} makes that float32; in bfloat16, {cost(use)}; set {fix}"
    )


def _missing(setting: Setting, section: str) -> list[str]:
    """Keys to set so that the compiled function, or the one for float32, is called.

    Both are called only where padding is removed; elsewhere every engine calls the plain one.
    """
    wanted = []
    if not setting(f"{MODEL}.use_remove_padding", True):
        wanted.append(f"{MODEL}.use_remove_padding")
    chunking, compiling = (f"{ACTOR}.{section}.{key}" for key in (_CHUNKING, "use_torch_compile"))
    if not setting(chunking, False) and not setting(compiling, True):
        wanted.append(chunking)
    return wanted


def cost(use: EntropyUse) -> str:
    """What bfloat16 entropies do to such a method, in words."""
    if use.side is None:
        return f"each is off by up to {_LARGEST_ERROR} nats (measured on synthetic logits)"
    side, share = min(OVERLAP, key=lambda measured: _distance(measured, use))
    low, high = OVERLAP[side, share]
    return f"of the tokens with the {side} {share:.0%} of entropies, {low:.2f} to {high:.2f} are found (measured on synthetic logits)"


def _distance(measured: tuple[str, float], use: EntropyUse) -> float:
    side, share = measured
    return abs(share - use.share) + (side != use.side)


def _warn(text: str) -> None:
    warnings.warn(f"sent-rl: {text}", stacklevel=4)
