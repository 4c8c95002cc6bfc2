"""Do the tests and intervals of `sent study` keep what they promise? By simulation.

python scripts/simulate_studies.py [--trials 4000]     # a few minutes; docs/studies.md quotes it

Simulated studies have the spread of the committed study docs/study/arithmetic: of runs, of
questions, and of run x question. False alarms: arms that are the same. Coverage: how often the
95 % interval holds the truth. For comparison also the test that `sent study` used to make, which
flipped the signs of questions, and pooling one variance over all arms.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from sent_rl.evaluation.comparison import RunEstimate, Scores, difference, holm, run_mean
from sent_rl.evaluation.distributions import f_tail, t_power, t_tail
from sent_rl.evaluation.estimators import Z_95, estimate
from sent_rl.evaluation.power import POWER, detectable, power, runs_needed, spread
from sent_rl.study import Study, collect_cells, load_study

COMMITTED = Path(__file__).parents[1] / "docs" / "study" / "arithmetic"
Test = Callable[[Scores, Scores], float]
"""Two arms, (runs, questions) each -> p-value."""


@dataclass(frozen=True)
class World:
    """Standard deviations, as shares: what a study is drawn from."""

    run: float
    run_question: float
    question: float
    arm_question: float = 0.0
    shared_by_seed: float = 0.0
    """Correlation of runs of different arms with the same seed."""
    first_arm: float = 1.0
    """How much wider the runs of arm 0 spread."""

    def draw(self, rng: np.random.Generator, arms: int, runs: int, questions: int) -> Scores:
        """(arms, runs, questions) scores of arms whose true mean is 0.5."""
        of_seed = rng.normal(0, math.sqrt(self.shared_by_seed), (1, runs, 1))
        own = rng.normal(0, math.sqrt(1 - self.shared_by_seed), (arms, runs, 1))
        wide = np.where(np.arange(arms) == 0, self.first_arm, 1.0)[:, None, None]
        noise = rng.normal(0, self.run_question, (arms, runs, questions))
        of_question = rng.normal(0, self.question, questions)
        of_both = rng.normal(0, self.arm_question, (arms, 1, questions))
        return 0.5 + self.run * wide * (of_seed + own) + of_question + of_both + noise


def committed_world(study: Study, metric: str) -> World:
    scores = study.scores[metric]
    found = spread(scores.values())
    assert found is not None
    mean = np.mean([s.mean(axis=0) for s in scores.values()], axis=0)
    return World(found.run, found.question, float(mean.std(ddof=1)))


def welch(a: Scores, b: Scores) -> float:
    return p_if_small(difference(a, b))


def paired(a: Scores, b: Scores) -> float:
    return p_if_small(difference(a, b, paired=True))


def p_if_small(found: RunEstimate) -> float:
    """The p-value, or 1 where even a normal distribution's tail is above 5 %: t's are heavier."""
    return found.p if beyond_normal(found, 0.0) else 1.0


def covers(found: RunEstimate, truth: float) -> bool:
    return not beyond_normal(found, truth) or abs(found.value - truth) <= found.half_width


def beyond_normal(found: RunEstimate, truth: float) -> bool:
    return abs(found.value - truth) > Z_95 * max(e.stderr for e in found.errors)


def sign_flips(a: Scores, b: Scores, draws: int = 400) -> float:
    """The former test: seeds averaged, signs of the questions' differences flipped at random."""
    differences = a.mean(axis=0) - b.mean(axis=0)
    rng = np.random.default_rng(0)
    signs = rng.integers(0, 2, size=(draws, len(differences)), dtype=np.int8) * 2.0 - 1.0
    beyond = np.abs(signs @ differences) >= abs(differences.sum()) * (1 - 1e-12)
    return float((1 + beyond.sum()) / (1 + draws))


def false_alarms(world: World, test: Test, trials: int, *, arms: int = 2, runs: int = 5, questions: int = 512) -> float:
    """Share of studies of identical arms in which some arm differs from the last, p < 0.05 (Holm)."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(trials):
        *others, baseline = world.draw(rng, arms, runs, questions)
        adjusted = holm({str(i): test(arm, baseline) for i, arm in enumerate(others)})
        alarms += min(adjusted.values()) < 0.05
    return alarms / trials


def pooled_false_alarms(world: World, trials: int, *, arms: int = 16, runs: int = 5) -> float:
    """The same of arm 0 against the last, with one variance for all arms of the study."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(trials):
        means = world.draw(rng, arms, runs, 512).mean(axis=2)
        variance = float(means.var(axis=1, ddof=1).mean())
        t = (means[0].mean() - means[-1].mean()) / math.sqrt(2 * variance / runs)
        alarms += t_tail(t, arms * (runs - 1)) < 0.05
    return alarms / trials


def resampled_false_alarms(study: Study, metric: str, trials: int, runs: int = 5) -> float:
    """The same of two arms whose runs are drawn from the committed runs, their arms' means removed."""
    means = [scores.mean(axis=1) for scores in study.scores[metric].values()]
    deviations = np.concatenate([m - m.mean() for m in means])
    rng = np.random.default_rng(0)
    draws = rng.choice(deviations, size=(trials, 2, runs, 1))
    return float(np.mean([welch(a, b) < 0.05 for a, b in draws]))


def coverage(world: World, trials: int, *, runs: int, questions: int) -> tuple[float, float]:
    """How often the 95 % intervals hold the truth: (of a difference, of an arm's mean)."""
    rng = np.random.default_rng(1)
    of_difference = of_mean = 0
    for _ in range(trials):
        a, b = world.draw(rng, 2, runs, questions)
        of_difference += covers(difference(a, b), 0.0)
        of_mean += covers(run_mean(a), 0.5)
    return of_difference / trials, of_mean / trials


def bootstrap_coverage(world: World, trials: int, *, runs: int, draws: int = 1000) -> float:
    """The same of the former interval: runs of each arm and questions drawn again and again."""
    rng = np.random.default_rng(1)
    shares = [1 / runs] * runs
    held = 0
    for _ in range(trials):
        arms = world.draw(rng, 2, runs, 512)
        means = [rng.multinomial(runs, shares, size=draws) @ arm / runs for arm in arms]
        questions = rng.multinomial(512, [1 / 512] * 512, size=draws) / 512
        low, high = np.quantile(((means[0] - means[1]) * questions).sum(axis=1), [0.025, 0.975])
        held += low <= 0 <= high
    return held / trials


def print_false_alarms(world: World, trials: int) -> None:
    print("\nFalse alarms at 5 %, identical arms, 512 questions, per cent")
    for runs in (2, 3, 5, 10):
        two = [false_alarms(world, test, trials, runs=runs) for test in (welch, paired)]
        many = false_alarms(world, welch, trials, arms=16, runs=runs)
        print(f"  {runs:2} runs: Welch {100 * two[0]:.1f}, paired {100 * two[1]:.1f}; "
              f"15 arms, Holm: any {100 * many:.1f}")  # fmt: skip
    old = false_alarms(world, sign_flips, trials // 20)
    print(f"  sign flips over questions, 5 runs: {100 * old:.0f}", end="; ")
    old = false_alarms(world, sign_flips, trials // 80, arms=16)
    print(f"15 arms, Holm: any {100 * old:.0f}")
    shared = replace(world, shared_by_seed=0.25)
    both = [false_alarms(shared, test, trials) for test in (welch, paired)]
    print(f"  runs of a seed correlate by 0.25: Welch {100 * both[0]:.1f}, paired {100 * both[1]:.1f}")
    for wide in (1.5, 2.0):
        uneven = replace(world, first_arm=wide)
        own, one = false_alarms(uneven, welch, trials), pooled_false_alarms(uneven, trials)
        print(f"  one arm spreads {wide} times as wide: Welch {100 * own:.1f}, pooled {100 * one:.1f}")


def print_coverage(world: World, trials: int) -> None:
    print("\nCoverage of 95 % intervals, per cent: of a difference, of an arm's mean")
    for name, each in (("arms alike", world), ("arm x question 0.1", replace(world, arm_question=0.1))):
        for questions in (30, 512):
            for runs in (2, 3, 5, 10):
                pair = coverage(each, trials, runs=runs, questions=questions)
                print(f"  {name}, {questions} questions, {runs:2} runs: "
                      + ", ".join(f"{100 * p:.1f}" for p in pair))  # fmt: skip

    for runs in (2, 3, 5, 10):
        former = bootstrap_coverage(world, trials // 10, runs=runs)
        print(f"  bootstrap over runs and questions, difference, {runs:2} runs: {100 * former:.0f}")


def print_power(study: Study, metric: str, trials: int) -> None:
    world = committed_world(study, metric)
    deviation = 100 * math.hypot(world.run, world.run_question / math.sqrt(study.questions))
    print(f"\n{metric}: runs spread by {deviation:.2f} points on {study.questions} questions "
          f"(run alone {100 * world.run:.2f}, run x question {world.run_question:.3f}, "
          f"questions {world.question:.3f})")  # fmt: skip
    for runs in (2, 3, 5, 10, 25):
        alone, of_many = (detectable(deviation, runs, c) for c in (1, 15))
        print(f"  {runs:2} runs: {alone:.1f} points alone, {of_many:.1f} with Holm over 15")
    pooled = pooled_detectable(deviation, len(study.arms), 5, 15)
    print(f"   5 runs, one variance for all arms: {pooled:.1f} with Holm over 15")
    needed = [runs_needed(2.0, deviation, c) for c in (1, 15)]
    print(f"  for 2 points: {needed[0]} runs alone, {needed[1]} with Holm over 15")
    rng = np.random.default_rng(2)
    shift = detectable(deviation, 5) / 100
    found = sum(welch(a + shift, b) < 0.05 for a, b in (world.draw(rng, 2, 5, study.questions) for _ in range(trials)))
    print(f"  {100 * shift:.1f} points, 5 runs: found in {100 * found / trials:.0f} % of simulations")


def pooled_detectable(deviation: float, arms: int, runs: int, comparisons: int) -> float:
    """What a t test with one variance for all arms would detect in 80 % of studies."""
    stderr, df = deviation * math.sqrt(2 / runs), arms * (runs - 1)
    shifts = np.linspace(2, 6, 401)
    return float(next(s for s in shifts if t_power(float(s), 0.05 / comparisons, df) >= POWER)) * stderr


def break_even(runs: int, comparisons: int) -> float:
    """The correlation of runs with a seed in common from which pairing finds smaller differences."""
    low, high = 0.0, 1.0
    unpaired = detectable(1.0, runs, comparisons)
    while high - low > 1e-3:
        middle = (low + high) / 2
        found = power(unpaired, math.sqrt(1 - middle), runs, comparisons, paired=True)
        low, high = (middle, high) if found < POWER else (low, middle)
    return high


def seed_effect(study: Study, metric: str, arms: Sequence[str]) -> tuple[float, float, tuple[int, int], float]:
    """Do runs with the same seed resemble each other? (their correlation, F of seeds, its df, p)."""
    means = np.array([study.scores[metric][arm].mean(axis=1) for arm in arms])
    many, seeds = means.shape
    rest = means - means.mean(axis=1, keepdims=True) - means.mean(axis=0) + means.mean()
    df = (seeds - 1, (many - 1) * (seeds - 1))
    error = float((rest**2).sum()) / df[1]
    f = many * float(means.mean(axis=0).var(ddof=1)) / error
    return (f - 1) / (f - 1 + many), f, df, f_tail(f, *df)


def print_seeds(study: Study, metric: str) -> None:
    one_stage = [arm for arm in study.arms if study.config.cell(arm, study.config.seeds[0]).stage.stages == 1]
    print(f"\nRuns with the same seed, {metric}")
    for name, arms in (("all arms", study.arms), ("arms with one stage", one_stage)):
        correlation, f, df, p = seed_effect(study, metric, arms)
        print(f"  {len(arms)} {name}: correlation {correlation:.2f}, F{df} {f:.2f}, p {p:.3f}")
    pairs = [pair for runs in study.scores[metric].values() for pair in combinations(runs, 2)]
    apart = sum(abs(e.value) > Z_95 * e.stderr for e in (estimate(a - b) for a, b in pairs))
    print(f"  pairs of runs of one arm that differ over questions (5 %): {apart} of {len(pairs)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=4000)
    trials = parser.parse_args().trials
    study = collect_cells(load_study("arithmetic"), COMMITTED)
    metrics = [next(iter(study.scores)), list(study.scores)[-1]]
    for metric in metrics:
        print_power(study, metric, trials)
        print_seeds(study, metric)
    print("\nPairing by seed finds smaller differences from this correlation on:")
    for runs in (3, 5, 8, 10, 20):
        print(f"  {runs:2} runs: {break_even(runs, 1):.2f} alone, {break_even(runs, 15):.2f} with Holm over 15")
    world = committed_world(study, metrics[0])
    print_false_alarms(world, trials)
    for metric in metrics:
        found = resampled_false_alarms(study, metric, trials)
        print(f"  runs drawn from the committed ones, {metric}, 5 runs: Welch {100 * found:.1f}")
    print_coverage(world, trials)


if __name__ == "__main__":
    main()
