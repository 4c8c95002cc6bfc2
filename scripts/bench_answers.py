"""How well and how fast answers are compared: false agreement and what cut responses earn first, then agreement with
references, adversarial answers, clustering.

    python scripts/bench_answers.py --data DIR

``DIR`` holds the benchmarks as docs/evaluation.md describes them; without it the parts that need no data run.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

from sent_rl.answers import cluster, extract, verdict
from sent_rl.config.schema import Answers
from sent_rl.evaluation.benchmarks import benchmark, load_benchmark
from sent_rl.problems import Problem
from sent_rl.problems.sources import File

WITH_SOLUTIONS = ("math500", "gsm8k", "olympiadbench", "minerva")
DISTANCE = 7
"""Answers are paired with those of so many following problems."""
CHANGES = 4
"""So many times one character of an answer is changed."""
SHARES = (50, 85, 95)
"""Per cent of its length at which a response is cut."""
_STATED = re.compile(r"\\boxed|\\fbox|####")


def agreement(data: Path) -> None:
    """Of every reference solution the extracted answer, against the gold answer."""
    print("reference solutions: extracted answer against gold answer, as the evaluation reads them")
    for name in WITH_SOLUTIONS:
        problems = load_benchmark(name, data)
        found = [(p, Answers().read(reference(name, p))) for p in problems]
        same = sum(verdict(p.golds, answer, p.tolerance) == "same" for p, answer in found)
        print(f"  {benchmark(name).title:14} {same:5} of {len(found):5} same ({same / len(found):.2%})")
        for problem, answer in found:
            if verdict(problem.golds, answer, problem.tolerance) != "same":
                print(f"    {problem.id}: gold {problem.answer[:60]!r}, extracted {str(answer)[:60]!r}")


def minerva_list(data: Path) -> None:
    """The answers that the copy of Minerva lists beside the solutions, against those of the solutions."""
    rows = File(path=str(data / "minerva" / "deepscaler_minerva.json")).rows()
    causes: Counter[str] = Counter()
    for row in rows:
        stated, listed = extract(row["solution"], ["boxed"]), [str(each).strip() for each in row["answer"]]
        if verdict(listed, stated) == "same":
            causes["same"] += 1
        elif any(verdict(listed, extract(part, ["boxed"])) == "same" for part in row["problem"].split("Subproblem")):
            causes["the listed one is that of an earlier subproblem, which the question repeats with its solution"] += 1
        else:
            causes["another"] += 1
            print(f"    listed {listed}, in the solution {stated!r}")
    print(f"  Minerva's list of answers against its solutions: {dict(causes)}")


def reference(name: str, problem: Problem) -> str:
    """The text of the reference solution. OlympiadBench's solutions state no final answer of their own: a sentence with the gold answer
    stands for one, in the notation that the set's own answers have."""
    if name == "olympiadbench":
        return f"{problem.metadata['solution']}\nThe final answer is {problem.answer}."
    return str(problem.metadata["solution"])


def false_agreement(data: Path) -> None:
    """Gold answers of different questions: same only where they are the same."""
    print("answers of different questions (pairs whose text is equal left out)")
    for name in WITH_SOLUTIONS:
        golds = [p.answer for p in load_benchmark(name, data)]
        pairs = [(golds[i], golds[(i + d) % len(golds)]) for i in range(len(golds)) for d in range(1, DISTANCE + 1)]
        pairs = [(a, b) for a, b in pairs if plain(a) != plain(b)]
        wrong = Counter(pair for pair in pairs if verdict(*pair) == "same")
        share = 1 - sum(wrong.values()) / len(pairs)
        print(f"  {benchmark(name).title:14} {len(pairs) - sum(wrong.values()):5} of {len(pairs):5} different ({share:.3%})")
        for a, b in sorted(wrong):
            print(f"    same: {a[:60]!r} and {b[:60]!r}")


def changed_answers(data: Path) -> None:
    """Gold answers of which one character is another: same only where that character says nothing."""
    rng = random.Random(0)
    golds = sorted({gold for name in WITH_SOLUTIONS for p in load_benchmark(name, data) for gold in p.golds if len(gold) < 200})
    pairs = {(gold, changed(gold, rng)) for gold in golds for _ in range(CHANGES)}
    pairs = {(a, b) for a, b in pairs if plain(a) != plain(b)}
    wrong = sorted(pair for pair in pairs if verdict(*pair) == "same")
    print(f"one character of an answer changed: {len(pairs) - len(wrong)} of {len(pairs)} different ({1 - len(wrong) / len(pairs):.2%})")
    for a, b in wrong:
        print(f"    same: {a[:60]!r} and {b[:60]!r}")


def changed(answer: str, rng: random.Random) -> str:
    """The answer with another digit, sign, bracket, relation or letter in one place; as it is where that place holds something else."""
    place = rng.randrange(len(answer))
    character, before = answer[place], answer[:place]
    others = {"+": "-", "-": "+", "(": "[", "[": "(", ")": "]", "]": ")", "<": ">", ">": "<", "=": "<", "/": "*", "^": "_"}
    if character.isdigit():
        others[character] = rng.choice([digit for digit in "0123456789" if digit != character])
    elif character.isalpha() and not re.search(r"\\[A-Za-z]*$", before):
        others[character] = rng.choice("abcxyz")
    return before + others.get(character, character) + answer[place + 1 :]


def cut_responses(data: Path) -> None:
    """What reference solutions earn that are cut before they state their answer."""
    answers = Answers()
    readings: dict[str, Callable[[str], str | None]] = {
        "reward and scores": answers.read_for_reward,
        "evaluation, which knows that they were cut": lambda text: answers.read(text, finished=False),
        "evaluation, if it did not know": answers.read,
    }
    print(f"reference solutions cut at {', '.join(map(str, SHARES))} % of their length and before any box or ####: right all the same")
    for name in WITH_SOLUTIONS:
        problems = load_benchmark(name, data)
        for reading, read in readings.items():
            right = Counter(share for p in problems for share, text in cut(p) if is_right(p, read(text)))
            print(f"  {benchmark(name).title:14} {reading:43} {', '.join(f'{right[s] / len(problems):.1%}' for s in SHARES)}")


def cut(problem: Problem) -> Iterator[tuple[int, str]]:
    solution = str(problem.metadata["solution"])
    stated = _STATED.search(solution)
    end = stated.start() if stated else len(solution)
    yield from ((share, solution[: min(end, len(solution) * share // 100)]) for share in SHARES)


def is_right(problem: Problem, answer: str | None) -> bool:
    return verdict(problem.golds, answer, problem.tolerance) == "same"


def speed(data: Path) -> None:
    """Seconds for the reward of 1,024 responses, reading included; the second time answers are remembered."""
    problems = [*load_benchmark("math500", data), *load_benchmark("gsm8k", data)][:1024]
    for time_of in ("first", "second"):
        started = time.process_time()
        for problem in problems:  # a blank more: nothing is remembered from the parts before
            verdict(f"{problem.answer} ", f"{Answers().read_for_reward(reference('', problem))} ")
        print(f"reward of {len(problems):,} responses, the {time_of} time: {time.process_time() - started:.2f} s")


def plain(answer: str) -> str:
    return "".join(answer.split()).strip("$")


def adversarial_answers() -> list[str]:
    """128 answers that nobody should try to work out."""
    families: list[Callable[[int], str]] = [
        lambda i: f"9^{{9^{{{9 + i}}}}}",
        lambda i: f"{9 + i}**9**9",
        lambda i: f"(10^{9 + i})!",
        lambda i: "(" * i + "9!" + ")!" * i,
        lambda i: "(" * (2000 + i) + "1" + ")" * (2000 + i),
        lambda i: "7" * (100_000 + i),
        lambda i: "\\frac{1}{" * (400 + i) + "2" + "}" * (400 + i),
        lambda i: "\\frac{" * (10 + i) + "x",
        lambda i: f"\\sum_{{k=1}}^{{{10 ** (8 + i % 4)}}} \\frac{{1}}{{k^{i + 2}}}",
        lambda i: f"\\prod_{{k=1}}^{{{10 ** (7 + i % 4)}}} (1 + \\frac{{1}}{{k+{i}}})",
        lambda i: f"\\int_0^{{{i + 1}}} e^{{e^{{e^{{x^{i + 2}}}}}}} \\sin(x^x) dx",
        lambda i: "\\sqrt{" * (60 + i) + "2" + "}" * (60 + i),
        lambda i: "x" + "^x" * (100 + i),
        lambda i: f"({'+'.join(f'x_{k}' for k in range(12 + i))})^{{{30 + i}}}",
        lambda i: "\\left\\{" * (50 + i) + "\\\\begin{pmatrix} & \\\\" * 5,
        lambda i: "\x00\u202e\\boxed" + "}{" * (300 + i) + "$" * i,
    ]
    return [family(i) for i in range(1, 9) for family in families]


def adversarial() -> None:
    """Time and memory for 128 of them, in two threads and in two processes."""
    answers = adversarial_answers()
    print(f"adversarial answers: {len(answers)}, verdicts against the gold answer x^2 + 1")
    executors: dict[str, Callable[[], Executor]] = {
        "threads": lambda: ThreadPoolExecutor(2),
        "processes": lambda: ProcessPoolExecutor(2, get_context("spawn")),
    }
    for name, make in executors.items():
        with Memory() as memory, make() as executor:
            started = time.monotonic()
            verdicts = Counter(executor.map(judge_one, answers))
            seconds = time.monotonic() - started
        print(f"  two {name:9} {seconds:5.1f} s, at most {memory.peak / 2**20:.0f} MB, all processes together; verdicts {dict(verdicts)}")


def judge_one(answer: str) -> str:
    return verdict("x^2 + 1", answer)


class Memory:
    """The largest proportional set size of this process and all below it, looked at 20 times a second (Linux)."""

    def __enter__(self) -> Memory:
        self.peak, self.done = 0, threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(0.05):
            self.peak = max(self.peak, sum(map(proportional_bytes, descendants(os.getpid()))))


def descendants(pid: int) -> list[int]:
    """A process and all that it started, directly or not."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(each for child in children for each in descendants(child))]


def proportional_bytes(pid: int) -> int:
    """Memory of a process, with what it shares divided among those that share it."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def sampled_answers(problems: int, each: int, seed: int = 0) -> list[list[str]]:
    """Answers such as ``each`` samples give to a problem: a few values, in many spellings. Two thirds of the problems want a number."""
    rng = random.Random(seed)
    return [[spelled(rng.choice(values), rng) for _ in range(each)] for values in (candidate_values(rng) for _ in range(problems))]


def candidate_values(rng: random.Random) -> list[list[str]]:
    """Three to six values, each as the list of its spellings."""
    kind = rng.choice(["integer"] * 8 + ["fraction"] * 4 + ["surd", "tuple", "set", "polynomial", "interval"])
    return [spellings(kind, rng) for _ in range(rng.randint(3, 6))]


def spellings(kind: str, rng: random.Random) -> list[str]:
    a, b, c = rng.randint(2, 97), rng.choice([3, 7, 9, 11, 13]), rng.randint(1, 9)
    return {
        "integer": [f"{a * 100}", f"{a * 100}.0", f"{a * 100:,}", f"{a * 100}\\text{{ cm}}"],
        "fraction": [f"\\frac{{{a}}}{{{b}}}", f"{a}/{b}", f"\\dfrac{{{2 * a}}}{{{2 * b}}}", f"\\frac{{-{a}}}{{-{b}}}"],
        "surd": [f"{c}\\sqrt{{{b}}}", f"\\sqrt{{{c * c * b}}}", f"{c} \\cdot \\sqrt{{{b}}}"],
        "tuple": [f"({a}, {b})", f"\\left({a},{b}\\right)", f"({a}.0, {b})"],
        "set": [f"\\{{{a}, -{b}\\}}", f"\\{{-{b},{a}\\}}"],
        "polynomial": [f"x^2 + {c}x + {a}", f"{a} + {c}x + x^2", f"x(x+{c}) + {a}"],
        "interval": [f"[{c}, {a + 9})", f"\\left[{c},{a + 9}\\right)"],
    }[kind]


def spelled(spellings_of_one: Sequence[str], rng: random.Random) -> str:
    text = rng.choice(spellings_of_one)
    return rng.choice([text, text, f"${text}$", f" {text}."])


def clustering(problems: int, compared: int) -> None:
    """Our clusters and their time against math-verify on all pairs, every answer parsed once."""
    sampled = sampled_answers(problems, 16)
    started = time.process_time()
    ours = [cluster(answers) for answers in sampled]
    seconds = time.process_time() - started
    print(f"clustering 16 answers of each of {problems:,} problems")
    started = time.process_time()
    for answers in sampled[:compared]:
        cluster([f"{answer} " for answer in answers])  # a blank more: nothing is remembered
    ours_compared = time.process_time() - started
    started = time.process_time()
    theirs = [pairwise(answers) for answers in sampled[:compared]]
    theirs_compared = time.process_time() - started
    different = [i for i in range(compared) if ours[i] != theirs[i]]
    print(f"  all of them: {seconds / problems * 1000:.2f} ms a problem")
    print(f"  on the first {compared}: {theirs_compared / ours_compared:.0f} times as fast as math-verify on all pairs of parsed answers")
    print(f"  the same clusters on {compared - len(different)} of {compared}")
    for i in different[:10]:
        print(f"    {sorted(set(sampled[i]))}: {ours[i]} here, {theirs[i]} there")


def pairwise(answers: Sequence[str]) -> list[int]:
    """Connected components of math-verify's verdicts on all pairs, numbered by first appearance."""
    from math_verify import parse, verify

    parsed = [parse(f"${answer.strip(' .$')}$") for answer in answers]
    group = list(range(len(answers)))
    for i, j in combinations(range(len(answers)), 2):
        if verify(parsed[i], parsed[j]):
            old, new = max(group[i], group[j]), min(group[i], group[j])
            group = [new if g == old else g for g in group]
    numbers: dict[int, int] = {}
    return [numbers.setdefault(g, len(numbers)) for g in group]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the benchmarks")
    parser.add_argument("--problems", type=int, default=1000, help="problems to cluster")
    parser.add_argument("--compared", type=int, default=50, help="of these, how many math-verify clusters too")
    options = parser.parse_args()
    if options.data:
        false_agreement(options.data)
        changed_answers(options.data)
        cut_responses(options.data)
        agreement(options.data)
        minerva_list(options.data)
        speed(options.data)
    else:
        print("agreement: not measured, it needs --data DIR")
    adversarial()
    clustering(options.problems, options.compared)


if __name__ == "__main__":
    main()
