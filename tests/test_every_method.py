"""Every method against a slow re-computation written from its card, and its gradient against finite differences on a bandit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sent_rl.errors import UserError
from sent_rl.methods import Method, Rollouts, Treatment, get, names, resolve
from sent_rl.objective import policy_loss

Token = tuple[int, int]
Grid = dict[Token, float]


class Slow:
    """The rollouts as Python numbers, and what the cards are written in."""

    def __init__(self, r: Rollouts) -> None:
        self.tokens: list[Token] = [(i, t) for i in range(r.mask.size(0)) for t in range(r.mask.size(1)) if r.mask[i, t]]
        self.logp, self.entropy, self.advantage = (
            {x: values[x].item() for x in self.tokens} for values in (r.logps, r.entropies, r.advantages)
        )
        self.covariance = self.covariance_over(self.tokens)

    def covariance_over(self, tokens: list[Token]) -> Grid:
        logp, advantage = (sum(v[x] for x in tokens) / len(tokens) for v in (self.logp, self.advantage))
        return {x: (self.logp[x] - logp) * (self.advantage[x] - advantage) for x in tokens}

    def first(self, values: Grid, fraction: float, largest: bool) -> set[Token]:
        """The share of tokens at one end; values are continuous here, so there are no ties."""
        ranked = sorted(values, key=lambda x: values[x], reverse=largest)
        return set(ranked[: max(1, math.floor(fraction * len(ranked) + 1e-9))])


def rollouts(seed: int = 0, rows: int = 6, length: int = 40) -> Rollouts:
    g = torch.Generator().manual_seed(seed)
    logps, entropies = torch.randn(2, rows, length, generator=g, dtype=torch.float64)
    advantages = torch.randn(rows, generator=g, dtype=torch.float64) * 2
    return Rollouts(-logps.abs() * 2, entropies.abs(), advantages, torch.rand(rows, length, generator=g) < 0.8)


def expect(r: Rollouts, t: Treatment, *, advantages: Grid, weight: Grid, kl: Grid) -> None:
    for name, found, wanted in (("advantages", t.advantages, advantages), ("weight", t.policy_weight, weight), ("kl", t.kl_coef, kl)):
        for x in Slow(r).tokens:
            assert found[x].item() == pytest.approx(wanted[x], abs=1e-12), (name, x)
    assert (t.kl_coef[~r.mask] == 0).all()


def everywhere(s: Slow, value: float) -> Grid:
    return dict.fromkeys(s.tokens, value)


@pytest.fixture(params=range(5))
def r(request: pytest.FixtureRequest) -> Rollouts:
    return rollouts(request.param)


def test_entropy_bonus(r: Rollouts) -> None:
    s = Slow(r)
    t = get("entropy_bonus", coef=0.02).treat(r)
    expect(r, t, advantages=s.advantage, weight=everywhere(s, 1), kl=everywhere(s, 0))
    assert t.entropy_coef == 0.02


def test_the_entropy_controller() -> None:
    method = get("entropy_bonus", adaptive=True, target=0.5, delta=0.1, coef_max=0.25)

    def at(entropy: float, state: dict[str, float] | None) -> Treatment:
        return method.treat(Rollouts(torch.full((2, 3), -entropy), torch.zeros(2, 3), torch.ones(2), torch.ones(2, 3)), state)

    # Skywork's rule, a loop over its training steps: what a step measures holds from the next on
    entropies = (0.4, 0.4, 0.4, 0.4, 0.6, 0.6, 0.4, 0.4)
    coef, enabled, expected = 0.0, True, []
    for entropy in entropies:
        expected.append(coef if enabled else 0.0)
        coef = min(max(coef + 0.1 if entropy < 0.5 else coef - 0.1, 0.0), 0.25)
        enabled = entropy < 0.5
    assert expected == pytest.approx([0, 0.1, 0.2, 0.25, 0.25, 0, 0, 0.15])
    coefs, state = [], None
    for entropy in entropies:
        t = at(entropy, state)
        state = t.state
        coefs.append(t.entropy_coef)
    assert coefs == pytest.approx(expected)
    assert state == {"coef": pytest.approx(coef), "below_target": 1.0}


def test_entropy_advantage(r: Rollouts) -> None:
    s = Slow(r)
    shaped = {x: s.advantage[x] + min(0.4 * s.entropy[x], abs(s.advantage[x]) / 2) for x in s.tokens}
    expect(r, get("entropy_advantage").treat(r), advantages=shaped, weight=everywhere(s, 1), kl=everywhere(s, 0))
    flat = Rollouts(r.logps, r.entropies, torch.zeros(6), r.mask)
    assert (get("entropy_advantage").treat(flat).advantages == 0).all()


@pytest.mark.parametrize("denominator", ["selected", "all"])
def test_entropy_mask(r: Rollouts, denominator: str) -> None:
    s = Slow(r)
    top = s.first(s.entropy, 0.2, largest=True)
    weight = len(s.tokens) / len(top) if denominator == "selected" else 1.0
    t = get("entropy_mask", denominator=denominator).treat(r)
    expect(r, t, advantages=s.advantage, weight={x: weight * (x in top) for x in s.tokens}, kl=everywhere(s, 0))
    # the mean over the selected tokens, as in the paper's equation
    logps = r.logps + 0.1
    loss = policy_loss(logps, r.logps, t, r.mask).total.item()
    surrogate = {x: -min(math.exp(0.1) * s.advantage[x], min(math.exp(0.1), 1.2) * s.advantage[x]) for x in top}
    assert loss == pytest.approx(sum(surrogate.values()) / (len(top) if denominator == "selected" else len(s.tokens)))


def test_clip_cov(r: Rollouts) -> None:
    s = Slow(r)
    method = get("clip_cov", clip_fraction=0.02)
    t = method.treat(r)
    candidates = {x for x in s.tokens if 1 < s.covariance[x] < 5}
    drawn = {x for x in s.tokens if t.policy_weight[x] == 0}
    assert drawn <= candidates
    assert len(drawn) == min(len(candidates), max(1, math.floor(0.02 * len(s.tokens) + 1e-9)))
    assert len(candidates) > len(drawn)  # so that there was something to draw
    expect(r, t, advantages=s.advantage, weight={x: float(x not in drawn) for x in s.tokens}, kl=everywhere(s, 0))
    assert t.clip == (1.0, 1.0)
    assert torch.equal(method.treat(r).policy_weight, t.policy_weight)  # the same step, the same draw
    draws = {tuple(method.treat(r, {"step": float(step)}).policy_weight.flatten().tolist()) for step in range(20)}
    assert len(draws) > 10


def test_clip_cov_draws_evenly() -> None:
    r = rollouts(1)
    candidates = {x for x, c in Slow(r).covariance.items() if 1 < c < 5}
    counts = dict.fromkeys(candidates, 0)
    steps = 3000
    for step in range(steps):
        weight = get("clip_cov", clip_fraction=1e-9).treat(r, {"step": float(step)}).policy_weight
        (drawn,) = ((weight == 0) & r.mask).nonzero().tolist()
        counts[drawn[0], drawn[1]] += 1
    expected = steps / len(candidates)
    assert max(abs(c - expected) for c in counts.values()) < 5 * math.sqrt(expected)


def test_clip_cov_without_candidates() -> None:
    r = Rollouts(-torch.rand(2, 5) / 100, torch.rand(2, 5), torch.tensor([1.0, -1.0]), torch.ones(2, 5))
    assert (get("clip_cov").treat(r).policy_weight == 1).all()


def test_kl_cov(r: Rollouts) -> None:
    s = Slow(r)
    top = s.first(s.covariance, 0.02, largest=True)
    t = get("kl_cov", top_fraction=0.02, beta=0.7).treat(r)
    expect(r, t, advantages=s.advantage, weight=everywhere(s, 1), kl={x: 0.7 * (x in top) for x in s.tokens})
    assert (t.anchor, t.kl_estimator, t.kl_importance, t.clip) == ("old", "abs", False, (math.inf, math.inf))
    assert get("kl_cov", ppo_clip=0.2).treat(r).clip == (0.2, 0.2)


def test_high_entropy_kl(r: Rollouts) -> None:
    s = Slow(r)
    top = s.first(s.entropy, 0.2, largest=True)
    t = get("high_entropy_kl", beta=0.3).treat(r)
    expect(r, t, advantages=s.advantage, weight=everywhere(s, 1), kl={x: 0.3 * (x in top) for x in s.tokens})


def test_sent_as_published(r: Rollouts) -> None:
    s = Slow(r)
    low = s.first(s.entropy, 0.8, largest=False)
    covariance = s.covariance_over(sorted(low))
    large, small = (s.first(covariance, 0.02, largest=largest) for largest in (True, False))
    t = get("sent_as_published", extreme_fraction=0.02).treat(r)
    kl = {x: 0.2 if x in large else 0.05 if x in small else 0.0 for x in s.tokens}
    expect(r, t, advantages=s.advantage, weight=everywhere(s, 1), kl=kl)
    assert (t.anchor, t.kl_estimator, t.clip) == ("old", "abs", (math.inf, math.inf))
    assert not large & small


def test_the_published_bug(r: Rollouts) -> None:
    """The indexing by an integer mask, done literally: memory rows x length x length, as the audit found."""
    mask = r.mask.long()
    low = r.entropies[r.mask].topk(math.floor(0.8 * int(mask.sum())), largest=False).indices
    wrong = [values[mask].reshape(-1)[low] for values in (r.advantages, r.logps)]
    covariance = (wrong[0] - wrong[0].mean()) * (wrong[1] - wrong[1].mean())
    assert r.advantages[mask].shape == (6, 40, 40)
    where = r.mask.flatten().nonzero()[:, 0][low]
    k = max(1, math.floor(0.02 * len(low)))
    kl = torch.zeros(240, dtype=torch.float64)
    kl[where[covariance.topk(k).indices]] = 0.2
    kl[where[covariance.topk(k, largest=False).indices]] = 0.05
    t = get("sent_as_published", extreme_fraction=0.02, faithful_bug=True).treat(r)
    assert torch.equal(t.kl_coef, kl.view(6, 40))
    assert not torch.equal(t.kl_coef, get("sent_as_published", extreme_fraction=0.02).treat(r).kl_coef)
    with pytest.raises(UserError, match="one response"):
        get("sent_as_published", faithful_bug=True).treat(rollouts(0, rows=1))


def test_sent_adaptive(r: Rollouts) -> None:
    method, plain = get("sent_adaptive", entropy_fraction=0.5, gain=0.2, scale_max=1.5), get("sent").treat(r)
    first = method.treat(r)
    assert torch.equal(first.kl_coef, plain.kl_coef)
    h = sum(Slow(r).entropy.values()) / len(Slow(r).tokens)
    assert first.state["start"] == pytest.approx(h)
    assert first.state["scale"] == pytest.approx(math.exp(0.2 * (1 - 1 / 0.5)))  # above the target: less
    collapsed = Rollouts(r.logps, r.entropies * 0.1, r.advantages, r.mask)
    second = method.treat(collapsed, first.state)
    torch.testing.assert_close(second.kl_coef, first.state["scale"] * get("sent").treat(collapsed).kl_coef)
    assert second.state["scale"] == pytest.approx(first.state["scale"] * math.exp(0.2 * (1 - 0.1 / 0.5)))
    state = second.state
    for _ in range(10):
        state = method.treat(collapsed, state).state
    assert state["scale"] == 1.5


def test_the_target_of_sent_adaptive_is_not_bound_to_the_first_stage(r: Rollouts) -> None:
    """H_0 is the highest entropy that a stage began with."""
    method = get("sent_adaptive", entropy_fraction=0.5, gain=0.2)
    h = sum(Slow(r).entropy.values()) / len(Slow(r).tokens)

    def at(share: float, stage: int, state: dict[str, float] | None) -> dict[str, float]:
        return method.treat(Rollouts(r.logps, r.entropies * share, r.advantages, r.mask, stage), state).state

    state, starts = None, []
    for share, stage in ((1, 0), (5, 0), (0.3, 0), (3, 1), (2, 1), (0.5, 2), (0.4, 2)):
        before, state = 1.0 if state is None else state["scale"], at(share, stage, state)
        starts.append(state["start"] / h)
        missing = 1 - share / (0.5 * starts[-1])
        assert state["scale"] == pytest.approx(min(max(before * math.exp(0.2 * missing), 1 / 20), 20))
    # inside a stage nothing moves it; a higher start does; a start after a loss of entropy doesn't
    assert starts == pytest.approx([1, 1, 1, 3, 3, 3, 3])


@pytest.mark.parametrize("options", [{"name": "sent_adaptive"}, {"name": "entropy_bonus", "adaptive": True}])
def test_a_step_without_tokens_moves_no_controller(options: dict[str, Any], r: Rollouts) -> None:
    method = resolve(options)
    nothing = Rollouts(r.logps, r.entropies, r.advantages, torch.zeros(r.mask.shape))
    start = method.treat(nothing).state
    assert method.treat(r, start).state == method.treat(r).state
    known = method.treat(r).state
    assert method.treat(nothing, known).state == known


VARIANTS: list[dict[str, Any]] = [
    *({"name": name} for name in names()),
    {"name": "clip_cov", "ppo_clip": None},
    {"name": "kl_cov", "ppo_clip": 0.2},
    {"name": "entropy_bonus", "adaptive": True},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_what_a_method_declares_is_what_it_does(options: dict[str, Any], r: Rollouts) -> None:
    """The trainers refuse combinations, and checkpoints without a state, by these declarations."""
    method = resolve(options)
    t = method.treat(r)
    assert t.clip == method.clip
    assert set(t.state) == method.state_keys
    effective = (t.advantages * t.policy_weight) / r.advantages.where(r.mask, 1.0)
    apart = any(len(set(row[m].tolist())) > 1 for row, m in zip(effective, r.mask, strict=True))
    assert apart == method.weighs_tokens


@pytest.mark.parametrize("name", names())
def test_no_valid_token(name: str) -> None:
    nothing = Rollouts(torch.full((2, 3), math.nan), torch.full((2, 3), math.nan), torch.ones(2), torch.zeros(2, 3))
    t = get(name).treat(nothing)
    for values in (t.advantages, t.policy_weight, t.kl_coef):
        assert torch.isfinite(values).all()
    assert (t.kl_coef == 0).all()


# ---- gradients on a 7-way softmax bandit

ACTIONS, DRAWS = 7, 12
OPTIONS: dict[str, dict[str, Any]] = {
    "grpo": {"beta": 0.3},
    "entropy_bonus": {"coef": 0.5},
    "clip_cov": {"clip_fraction": 0.2, "cov_low": 0.05},
    "kl_cov": {"top_fraction": 0.3},
    "high_entropy_kl": {"beta": 0.5},
    "sent": {"beta_low": 0.3, "beta_high": 0.9, "high_covariance_fraction": 0.3},
    "sent_as_published": {"extreme_fraction": 0.3},
    "sent_adaptive": {"beta_low": 0.3, "beta_high": 0.9, "high_covariance_fraction": 0.3},
}


def bandit_loss(theta: np.ndarray, frozen: np.ndarray, old: np.ndarray, ref: np.ndarray, x: dict[str, Any], t: Treatment) -> float:
    """The loss in plain numbers; what carries no gradient is evaluated at ``frozen``."""
    logits = [values[x["arms"]] for values in (theta, frozen)]  # (DRAWS, ACTIONS): each draw comes from an arm of its own
    log_probs, frozen_log_probs = (z - np.log(np.exp(z).sum(-1, keepdims=True)) for z in logits)
    total = 0.0
    for i in range(DRAWS):
        logp, still, old_logp, ref_logp = (v[i, x["actions"][i]] for v in (log_probs, frozen_log_probs, old, ref))
        ratio, advantage = math.exp(logp - old_logp), t.advantages[0, i].item()
        low, high = t.clip or (0.2, 0.2)
        surrogate = min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)
        d = logp - (old_logp if t.anchor == "old" else ref_logp)
        kl = {"k1": d, "k2": d * d / 2, "k3": math.exp(-d) - 1 + d, "abs": abs(d)}[t.kl_estimator]
        if t.kl_importance:
            kl *= ratio if t.kl_estimator in ("k1", "k3") else math.exp(still - old_logp)
        entropy = -(np.exp(log_probs[i]) * log_probs[i]).sum()
        total += -t.policy_weight[0, i].item() * surrogate + t.kl_coef[0, i].item() * kl - t.entropy_coef * entropy
    return total / DRAWS


@pytest.mark.parametrize("name", names())
def test_gradient_on_a_bandit(name: str) -> None:
    rng = np.random.default_rng(3)
    arms = rng.integers(3, size=DRAWS)
    old_theta, ref_theta = rng.normal(size=(2, 3, ACTIONS))
    theta = old_theta + 0.3 * rng.normal(size=(3, ACTIONS))  # off-policy: the second update of a rollout
    old, ref = (v[arms] - np.log(np.exp(v[arms]).sum(-1, keepdims=True)) for v in (old_theta, ref_theta))
    actions = np.array([rng.choice(ACTIONS, p=np.exp(row)) for row in old])
    picked = torch.tensor(old[np.arange(DRAWS), actions])[None]
    entropies = torch.tensor(-(np.exp(old) * old).sum(-1))[None]
    method: Method = get(name, **OPTIONS.get(name, {}))
    t = method.treat(Rollouts(picked, entropies, torch.tensor(rng.normal(size=(1, DRAWS))), torch.ones(1, DRAWS)))

    parameters = torch.tensor(theta, requires_grad=True)
    log_probs = torch.log_softmax(parameters[torch.tensor(arms)], -1)
    logps = log_probs[torch.arange(DRAWS), torch.tensor(actions)][None]
    entropy = -(log_probs.exp() * log_probs).sum(-1)[None]
    ref_logps = torch.tensor(ref[np.arange(DRAWS), actions])[None]
    loss = policy_loss(logps, picked, t, torch.ones(1, DRAWS), ref_logps=ref_logps, entropies=entropy)
    gradient = torch.autograd.grad(loss.total, parameters)[0].numpy()

    x = {"arms": arms, "actions": actions}
    assert loss.total.item() == pytest.approx(bandit_loss(theta, theta, old, ref, x, t))
    step = 1e-6
    for index in np.ndindex(theta.shape):
        up, down = theta.copy(), theta.copy()
        up[index] += step
        down[index] -= step
        slope = (bandit_loss(up, theta, old, ref, x, t) - bandit_loss(down, theta, old, ref, x, t)) / (2 * step)
        assert gradient[index] == pytest.approx(slope, abs=1e-7)
    assert np.abs(gradient).max() > 1e-3


# ---- the published losses of verl, where it is installed


@pytest.fixture
def verl_loss() -> Callable[..., Tensor]:
    pytest.importorskip("verl", reason="verl comes with the scale tests")
    from omegaconf import OmegaConf
    from verl.trainer.ppo.core_algos import get_policy_loss_fn

    def compute(mode: str, old: Tensor, new: Tensor, advantages: Tensor, mask: Tensor, **options: float) -> Tensor:
        config = OmegaConf.create(
            {"clip_ratio": 1.0, "clip_ratio_low": 1.0, "clip_ratio_high": 1.0, "policy_loss": options, "global_batch_info": {}}
        )
        loss: Tensor = get_policy_loss_fn(mode)(old, new, advantages, mask, "token-mean", config)[0]
        return loss

    return compute


def test_kl_cov_is_verls(verl_loss: Callable[..., Tensor], r: Rollouts) -> None:
    new = (r.logps + 0.1 * torch.randn(r.logps.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).requires_grad_()
    current = Rollouts(new, r.entropies, r.advantages, r.mask)  # verl selects from the current pass
    t = get("kl_cov", top_fraction=0.02, beta=0.7).treat(current)
    ours = policy_loss(new, r.logps, t, r.mask).total
    theirs = verl_loss("kl_cov", r.logps, new, r.advantages, r.mask.double(), kl_cov_ratio=0.02, ppo_kl_coef=0.7)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)
    a, b = (torch.autograd.grad(x, new)[0] for x in (ours, theirs))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_clip_cov_is_verls(verl_loss: Callable[..., Tensor], r: Rollouts) -> None:
    """All candidates are drawn, so that the two random draws cannot differ."""
    new = r.logps.clone().requires_grad_()
    t = get("clip_cov", clip_fraction=1.0).treat(r)
    ours = policy_loss(new, r.logps, t, r.mask).total
    theirs = verl_loss("clip_cov", r.logps, new, r.advantages, r.mask.double(), clip_cov_ratio=1.0, clip_cov_lb=1.0, clip_cov_ub=5.0)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)
    a, b = (torch.autograd.grad(x, new)[0] for x in (ours, theirs))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
