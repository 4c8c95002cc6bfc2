"""Every method is a treatment of tokens; this is the list of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sent_rl.errors import UserError, nearest
from sent_rl.methods.base import Anchor, Estimator, Method, Rollouts, State, Treatment
from sent_rl.methods.clip_cov import ClipCov
from sent_rl.methods.entropy_advantage import EntropyAdvantage
from sent_rl.methods.entropy_bonus import EntropyBonus
from sent_rl.methods.entropy_mask import EntropyMask
from sent_rl.methods.grpo import Grpo
from sent_rl.methods.high_entropy_kl import HighEntropyKl
from sent_rl.methods.kl_cov import KlCov
from sent_rl.methods.sent import Sent
from sent_rl.methods.sent_adaptive import SentAdaptive
from sent_rl.methods.sent_as_published import SentAsPublished
from sent_rl.methods.sent_online import SentOnline

__all__ = ["Anchor", "Estimator", "Method", "Rollouts", "State", "Treatment", "card", "get", "method_class", "names", "resolve"]

_ALL: tuple[type[Method], ...] = (
    Grpo,
    EntropyBonus,
    EntropyAdvantage,
    EntropyMask,
    ClipCov,
    KlCov,
    HighEntropyKl,
    Sent,
    SentAsPublished,
    SentOnline,
    SentAdaptive,
)
_METHODS: dict[str, type[Method]] = {cls.model_fields["name"].default: cls for cls in _ALL}


def names() -> list[str]:
    """The methods' names, the baseline first."""
    return list(_METHODS)


def method_class(name: str) -> type[Method]:
    """The class behind a name.

    Raises:
        UserError: an unknown name.
    """
    if name not in _METHODS:
        raise UserError(f"method: unknown method {name!r}; {nearest(name, _METHODS)}")
    return _METHODS[name]


def get(name: str, **options: Any) -> Method:
    """A method by name, e.g. ``get("sent", beta_high=0.2)``.

    Raises:
        UserError: an unknown name, an unknown option, or a value out of range.
    """
    cls = method_class(name)
    for option in options:
        if option not in cls.model_fields or option == "name":
            raise UserError(f"method.{option}: {name} has no such option; {nearest(option, set(cls.model_fields) - {'name'})}")
    try:
        return cls.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"method.{'.'.join(map(str, first['loc']))}: {first['msg']} (got {first['input']!r})") from error


def resolve(method: str | Mapping[str, Any] | Method) -> Method:
    """A method from a name, from ``{"name": ..., option: ...}``, or as it is."""
    if isinstance(method, Method):
        return method
    if not isinstance(method, str | Mapping):
        raise UserError(f"method: {method!r}; a name, or a mapping with a name and options")
    options: dict[str, Any] = {"name": method} if isinstance(method, str) else {str(key): value for key, value in method.items()}
    if not isinstance(options.get("name"), str):
        raise UserError("method.name: missing or no text; it says which method, e.g. 'sent'")
    return get(**options)


def card(name: str) -> str:
    """The paper card of a method, and its options with their defaults."""
    cls = method_class(name)
    options = (f"  {key} = {field.default!r}: {field.description}" for key, field in cls.model_fields.items() if key != "name")
    return "\n".join([cls.card(), "", "Options:", *options])
