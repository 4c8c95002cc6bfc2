from __future__ import annotations

import json
import math
import random
from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sent_rl.curriculum import OnlineStages, StageSampler, make_stages, semantic_entropy
from sent_rl.errors import UserError

ANSWERS = st.lists(st.sampled_from(["1", "2", "3", "4/2", None]), min_size=1, max_size=12)


def entropy_of(masses: list[float]) -> float:
    return -sum(m / sum(masses) * math.log(m / sum(masses)) for m in masses if m > 0)


@given(ANSWERS, st.randoms())
def test_counts(answers: list[str | None], rng: random.Random) -> None:
    same = {"4/2": "2"}
    parsed = Counter(same.get(a, a) for a in answers if a is not None)
    missing = answers.count(None)
    shared, separate = semantic_entropy(answers, unparsed="shared"), semantic_entropy(answers)
    assert shared.value == pytest.approx(entropy_of([*parsed.values(), *([missing] if missing else [])]), abs=1e-12)
    assert separate.value == pytest.approx(entropy_of([*parsed.values(), *[1] * missing]), abs=1e-12)
    assert shared.unparsed == separate.unparsed == missing
    assert len(set(separate.clusters)) == len(parsed) + missing
    shuffled = rng.sample(answers, len(answers))
    assert semantic_entropy(shuffled).value == separate.value  # to the last bit: ties must stay ties


@given(st.lists(st.tuples(st.sampled_from(["1", "2", None]), st.floats(0.01, 1)), min_size=1, max_size=8))
def test_likelihood_weights(weighted: list[tuple[str | None, float]]) -> None:
    answers, weights = [list(column) for column in zip(*weighted, strict=True)]
    masses: dict[str, float] = {}
    for i, (answer, weight) in enumerate(weighted):
        cluster = f"none {i}" if answer is None else answer
        masses[cluster] = masses.get(cluster, 0) + weight
    assert semantic_entropy(answers, weights).value == pytest.approx(entropy_of(list(masses.values())), abs=1e-12)


def test_entropy_refuses_nonsense() -> None:
    for bad in ([0.0, 0.0], [1.0], [1.0, float("nan")], [1.0, -1.0], [float("inf"), 1.0]):
        with pytest.raises(ValueError, match="weights"):
            semantic_entropy(["1", "2"], bad)
    with pytest.raises(ValueError, match="at least one"):
        semantic_entropy([])


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5])), min_size=1, max_size=20), st.data())
def test_stages_are_sorted_and_equal(scored: list[tuple[float, float]], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(scored)))
    entropies, rates = [list(column) for column in zip(*scored, strict=True)]
    ids = [f"{i:03}" for i in range(len(scored))]
    cut = make_stages(entropies, rates, ids, count)
    key = [(entropies[i], -rates[i], ids[i]) for i in cut.order]
    assert key == sorted(key)
    assert max(cut.sizes) - min(cut.sizes) <= 1
    assert sum(cut.sizes) == len(scored)
    assert [cut.stage[i] for i in cut.order] == sorted(cut.stage)
    assert make_stages(entropies, rates, ids, count, "descending").order == cut.order[::-1]
    tied = sum(entropies.count(e) > 1 for e in entropies)
    assert cut.tie_rate == pytest.approx(tied / len(scored))


def test_thresholds() -> None:
    entropies = [2.5, 0.0, 2.0, 1.9]
    cut = make_stages(entropies, [0] * 4, list("abcd"), thresholds=[2.0])
    assert [cut.stage[i] for i in range(4)] == [1, 0, 1, 0]
    assert make_stages(entropies, [0] * 4, list("abcd"), thresholds=[2.0], order="descending").stage == [0, 1, 0, 1]
    assert cut.tied_cuts == 0
    for bad in ([5.0], [2.0, 1.0], [], [float("nan")]):
        with pytest.raises(UserError, match=r"stage\.thresholds"):
            make_stages(entropies, [0] * 4, list("abcd"), thresholds=bad)
    with pytest.raises(UserError, match="random"):
        make_stages(entropies, [0] * 4, list("abcd"), thresholds=[2.0], order="random")


def test_random_is_a_shuffle_by_seed() -> None:
    one, two, same = (make_stages([0.0] * 30, [0.0] * 30, [str(i) for i in range(30)], 3, "random", seed=s) for s in (1, 2, 1))
    assert one.order == same.order != two.order
    assert sorted(one.order) == list(range(30))


def test_too_many_stages() -> None:
    with pytest.raises(UserError, match="only 2 problems"):
        make_stages([0.0, 1.0], [0.0, 0.0], ["a", "b"], 3)
    with pytest.raises(UserError, match="at least 1"):
        make_stages([0.0, 1.0], [0.0, 0.0], ["a", "b"], 0)


def test_sampler_walks_stage_after_stage() -> None:
    stage = [i % 2 for i in range(20)]
    sampler = StageSampler(stage, 4, passes=2, seed=1)
    order = list(sampler)
    assert sampler.batches == [5, 5]
    assert len(order) == len(sampler) == 40
    assert [stage[i] for i in order] == [0] * 20 + [1] * 20
    assert Counter(order[:20]) == dict.fromkeys(range(0, 20, 2), 2)
    assert order[:10] != order[10:20]  # another order in the second pass
    assert [sampler.stage_of_batch(b) for b in (0, 4, 5, 9, 99)] == [0, 0, 1, 1, 1]
    assert list(StageSampler(stage, 4, passes=2, seed=1)) == order
    assert list(StageSampler(stage, 4, passes=2, seed=2)) != order


def test_sampler_shares_out_a_number_of_batches() -> None:
    stage = [0] * 30 + [1] * 10
    assert StageSampler(stage, 5, batches=8).batches == [6, 2]
    assert StageSampler(stage, 5, batches=9, multiple_of=2).batches == [8, 2]
    assert StageSampler([0] * 95 + [1] * 5, 5, batches=3).batches == [2, 1]
    assert StageSampler([3] * 5 + [7] * 5, 5).batches == [1, 1]  # numbers need not begin at 0
    for bad in ([], ["0"] * 5, [0.0] * 5, [None] * 5):
        with pytest.raises(ValueError, match="a whole number"):
            StageSampler(bad, 5)  # type: ignore[arg-type]
    sampler = StageSampler(stage, 5, batches=20)
    assert sampler.batches == [15, 5]
    assert Counter(list(sampler)[:75]).most_common(1)[0][1] == 3  # 75 draws of 30 problems
    with pytest.raises(ValueError, match="fewer than the 11"):
        StageSampler(stage, 11)
    with pytest.raises(ValueError, match="fewer than the 2 stages"):
        StageSampler(stage, 5, batches=1)


def test_online_stages_follow_the_entropies() -> None:
    plan = StageSampler([0] * 6 + [1] * 6, 3, batches=8, seed=0)
    order = OnlineStages(plan, [i / 12 for i in range(12)])
    assert len(order) == 24
    first = order[0:6]
    assert sorted(first) == list(range(6))  # two batches of the first stage take each of its six problems once
    order.update({0: 5.0, 11: 0.0})  # the easiest becomes the hardest and the other way round
    second = order[6:12]
    assert 0 not in second
    assert 11 in second  # the least often drawn first
    assert order[0:6] == first  # what was drawn stays
    hard = order[12:24]
    assert set(hard) == {0, 6, 7, 8, 9, 10}
    order.update({0: 1.0})
    assert OnlineStages(plan, [0.0] * 12, smoothing=0.5).entropies == [0.0] * 12
    smooth = OnlineStages(plan, [1.0] * 12, smoothing=0.5)
    smooth.update({3: 0.0})
    assert smooth.entropies[3] == 0.5
    with pytest.raises(IndexError):
        order[24]


def test_online_stages_resume() -> None:
    plan = StageSampler([0] * 6 + [1] * 6, 3, batches=8, seed=0)
    whole = OnlineStages(plan, [0.0] * 12)
    states = []
    for batch in range(8):
        drawn = whole[3 * batch : 3 * batch + 3]
        whole.update({i: (i * 7 % 5) / 5 for i in drawn})
        states.append(json.loads(json.dumps(whole.state_dict())))
    again = OnlineStages(plan, [0.0] * 12)
    again.load_state_dict(states[4])
    assert again[0:15] == whole[0:15]
    for batch in range(5, 8):
        again.update({i: (i * 7 % 5) / 5 for i in again[3 * batch : 3 * batch + 3]})
    assert again.state_dict() == whole.state_dict()


def test_sampler_goes_on_where_it_was() -> None:
    stage = [i % 3 for i in range(30)]
    whole = list(StageSampler(stage, 5, passes=1, seed=7))
    first = StageSampler(stage, 5, passes=1, seed=7)
    walk = iter(first)
    begun = [next(walk) for _ in range(13)]
    second = StageSampler(stage, 5, passes=1, seed=7)
    second.load_state_dict(first.state_dict())
    assert begun + list(second) == whole


def test_the_reward_may_ask_for_another_format_than_the_evaluation() -> None:
    from sent_rl.config import load_config
    from sent_rl.trainers.trl.run import _reward

    answers = load_config(None, ["answers.extract=[boxed]", "answers.reward=[answer_line]"]).answers
    response = "Answer: 4\nso \\boxed{5}"
    assert answers.read(response) == "5"
    assert answers.read_for_reward(response) == "4"
    reward, ids = _reward(answers.read_for_reward, frozenset([1])), [[5, 1]]
    correct = partial(reward, completion_ids=ids * 4)
    golds, tolerance = [["4"], ["5"], ["4.1"], ["9", "4"]], [None, None, 0.2, None]
    assert correct([response] * 4, golds=golds, tolerance=tolerance) == [1.0, 0.0, 1.0, 1.0]
    chat = [[{"role": "assistant", "content": response}]]
    assert reward(chat, completion_ids=ids, golds=[["4"]], tolerance=[None]) == [1.0]


def test_the_reward_pays_no_answer_that_was_cut_in_the_middle() -> None:
    """Where ``#### 12`` is the end of a response that reached its limit, ``#### 128`` may have been meant."""
    from sent_rl.config import load_config
    from sent_rl.trainers.trl.run import _reward

    answers = load_config(None, []).answers
    text, cut, ended = "3+9=12\n#### 12", [5, 7], [5, 1]
    pay = partial(_reward(answers.read_for_reward, frozenset([1])), golds=[["12"]] * 3, tolerance=[None] * 3)
    assert pay([text, text, f"{text}\nThat"], completion_ids=[cut, ended, cut]) == [0.0, 1.0, 1.0]
    assert [answers.read_for_scores(text, finished) for finished in (False, True)] == [None, "12"]
