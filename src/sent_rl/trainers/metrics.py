"""What is logged of a treatment, the same for every method and every trainer."""

from __future__ import annotations

from torch import Tensor

from sent_rl.methods import Rollouts, Treatment
from sent_rl.tokens import share_count

_TOP_SHARE = 2e-4


def treatment_metrics(rollouts: Rollouts, treatment: Treatment, measured: bool) -> dict[str, float]:
    """Metric -> value, over all tokens of the step.

    ``tokens``; for each selection its share of the tokens, mean entropy (nats) and share of negative advantages; the mean covariance and
    that of the top 0.02 %; the method's state and entropy coefficient.

    Args:
        measured: whether the rollouts hold log-probs and entropies; without them there is no covariance.
    """
    total = rollouts.mask.sum().clamp(min=1)
    found = {"tokens": float(total)}
    for name, selection in treatment.selections.items():
        found[f"share/{name}"] = (selection.sum() / total).item()
        found[f"entropy/{name}"] = _mean(rollouts.entropies[selection])
        found[f"negative_advantage/{name}"] = _mean((rollouts.advantages[selection] < 0).float())
    if measured and rollouts.mask.any():
        covariance = rollouts.covariance()[rollouts.mask]
        found["covariance/mean"] = covariance.mean().item()
        found["covariance/top"] = covariance.topk(share_count(_TOP_SHARE, covariance.numel())).values.mean().item()
    found |= {f"state/{name}": value for name, value in treatment.state.items()}
    if treatment.entropy_coef:
        found["method_entropy_coef"] = treatment.entropy_coef
    return found


def _mean(values: Tensor) -> float:
    """The mean, 0 of nothing."""
    return values.mean().item() if values.numel() else 0.0
