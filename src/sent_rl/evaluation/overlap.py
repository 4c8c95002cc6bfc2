"""Do training problems re-appear in a benchmark, and does the training set repeat itself?"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sent_rl.answers import equivalent
from sent_rl.problems import Problem

Match = Literal["full", "prefix", "ngram"]

PREFIX = 120
"""Normalised characters that make a prefix match; shorter questions match in full only."""
WORDS = 13
"""Length of an n-gram, in words (GPT-3's choice, arXiv 2005.14165, appendix C)."""
SHARE = 0.5
"""Of a benchmark question's n-grams, what a training problem must hold to match."""
_TEMPLATE = 40
_WORD = re.compile(r"[^\W_]+|[-+*/^=<>]")
_LETTERS = re.compile(r"[\u4e00-\u9fff]|[^\u4e00-\u9fff]+")
_LAYOUT = re.compile(r"\\(?:left|right|displaystyle|text|mathrm|dfrac|tfrac|frac)(?![A-Za-z])|\\[,;:! ]")


@dataclass(frozen=True)
class Overlap:
    """A training problem that re-appears: how, and whether its answer is the benchmark's."""

    benchmark: str
    problem: str
    train: str
    match: Match
    same_answer: bool


def words(text: str) -> list[str]:
    """Words, numbers and operators of a problem, in lower case; punctuation, braces and TeX layout do not count. Chinese goes by sign."""
    bare = _LAYOUT.sub(" ", unicodedata.normalize("NFKC", text)).casefold()
    return [part for word in _WORD.findall(bare) for part in _LETTERS.findall(word)]


def without_template(prompts: Sequence[str]) -> list[str]:
    """Prompts without the text that most of them begin and end with (DAPO's instructions, for example)."""
    bare = _without_common_start(list(prompts))
    turned = _without_common_start([text[::-1] for text in bare])
    return [text[::-1].strip() or whole for text, whole in zip(turned, prompts, strict=True)]


def _without_common_start(texts: list[str]) -> list[str]:
    distinct = set(texts)  # a problem that is repeated is no template
    starts = Counter(text[:_TEMPLATE] for text in distinct if len(text) >= _TEMPLATE)
    start, count = starts.most_common(1)[0] if starts else ("", 0)
    if count < 3 or count <= len(distinct) / 2:
        return texts
    alike = [text for text in texts if text.startswith(start)]
    first, last = min(alike), max(alike)  # what these two share, all between them share
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return [text.removeprefix(first[:length]) for text in texts]


class _Index:
    """The questions of all benchmarks, by what they may be found by."""

    def __init__(self, benchmarks: Mapping[str, Sequence[Problem]]) -> None:
        self.full: dict[str, list[tuple[str, Problem]]] = defaultdict(list)
        self.prefix: dict[str, list[tuple[str, Problem]]] = defaultdict(list)
        self.ngrams: dict[int, list[tuple[str, Problem]]] = defaultdict(list)
        self.counts: dict[tuple[str, str], int] = {}
        for name, problems in benchmarks.items():
            for problem in problems:
                tokens = words(problem.prompt)
                text = "".join(tokens)
                self.full[text].append((name, problem))
                if len(text) >= PREFIX:
                    self.prefix[text[:PREFIX]].append((name, problem))
                grams = set(_ngrams(tokens))
                self.counts[name, problem.id] = len(grams)
                for gram in grams:
                    self.ngrams[gram].append((name, problem))

    def matches(self, prompt: str) -> Iterable[tuple[str, Problem, Match]]:
        """Every question that a training prompt repeats, once, by its strongest match."""
        tokens = words(prompt)
        text = "".join(tokens)
        found: dict[tuple[str, str], tuple[Problem, Match]] = {}
        shared: Counter[tuple[str, str]] = Counter()
        questions: dict[tuple[str, str], Problem] = {}
        for gram in set(_ngrams(tokens)):
            for name, problem in self.ngrams.get(gram, ()):
                shared[name, problem.id] += 1
                questions[name, problem.id] = problem
        found |= {key: (questions[key], "ngram") for key, count in shared.items() if count >= SHARE * self.counts[key]}
        found |= {(name, p.id): (p, "prefix") for name, p in self.prefix.get(text[:PREFIX], ())}
        found |= {(name, p.id): (p, "full") for name, p in self.full.get(text, ())}
        return [(name, problem, match) for (name, _), (problem, match) in found.items()]


def _ngrams(tokens: Sequence[str]) -> Iterable[int]:
    return (hash(tuple(tokens[i : i + WORDS])) for i in range(len(tokens) - WORDS + 1))


def find_overlaps(train: Sequence[Problem], benchmarks: Mapping[str, Sequence[Problem]]) -> list[Overlap]:
    """Training problems that re-appear in a benchmark: the same normalised text (``full``), the same first PREFIX characters of it
    (``prefix``), or at least SHARE of the question's runs of WORDS words (``ngram``).

    A match is a suspicion: problems that differ in a number at their end share a prefix. ``same_answer`` helps to tell.
    """
    index = _Index(benchmarks)
    return [
        Overlap(name, problem.id, own.id, match, equivalent(problem.golds, own.answer, problem.tolerance))
        for own, prompt in zip(train, without_template([p.prompt for p in train]), strict=True)
        for name, problem, match in index.matches(prompt)
    ]


def find_duplicates(train: Sequence[Problem]) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """(groups of ids with the same normalised text, those of the groups whose answers differ, with the answers)."""
    groups: dict[str, list[Problem]] = defaultdict(list)
    for problem, prompt in zip(train, without_template([p.prompt for p in train]), strict=True):
        groups["".join(words(prompt))].append(problem)
    repeated = [group for group in groups.values() if len(group) > 1]
    conflicts = [
        {"ids": [p.id for p in group], "answers": [p.answer for p in group]}
        for group in repeated
        if any(not equivalent(group[0].answer, p.answer) for p in group[1:])
    ]
    return [[p.id for p in group] for group in repeated], conflicts


def report(train: Sequence[Problem], benchmarks: Mapping[str, Sequence[Problem]]) -> dict[str, Any]:
    """Everything in one tree, as `sent check-overlap` writes it: ``benchmarks``: name -> problems, and how many of them re-appear by
    each match; ``overlaps``; ``duplicates``: groups of ids; ``conflicts``: those with different answers."""
    overlaps = find_overlaps(train, benchmarks)
    duplicates, conflicts = find_duplicates(train)
    counts: dict[str, dict[str, int]] = {}
    for name, problems in benchmarks.items():
        strongest: dict[str, Match] = {}
        for each in overlaps:
            if each.benchmark == name and strongest.get(each.problem) != "full":
                strongest[each.problem] = min(each.match, strongest.get(each.problem, "ngram"), key=("full", "prefix", "ngram").index)
        tally = Counter(strongest.values())
        counts[name] = {"problems": len(problems), "full": tally["full"], "prefix": tally["prefix"], "ngram": tally["ngram"]}
    return {
        "problems": len(train),
        "benchmarks": counts,
        "overlaps": [asdict(each) for each in overlaps],
        "duplicates": duplicates,
        "conflicts": conflicts,
    }


def cleaned(train: Sequence[Problem], found: Mapping[str, Any]) -> list[Problem]:
    """The training problems without those that re-appear in a benchmark, without repetitions, and without any whose answers conflict."""
    dropped = {each["train"] for each in found["overlaps"]} | {i for group in found["conflicts"] for i in group["ids"]}
    dropped |= {i for group in found["duplicates"] for i in group[1:]}
    return [p for p in train if p.id not in dropped]
