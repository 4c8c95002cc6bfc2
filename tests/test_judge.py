"""What becomes of pairs that math-verify is asked about: on a busy machine, at the limits, and when
processes are killed."""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_answers import DIFFERENT, SAME

from sent_rl.answers import equivalence, guard, judge, verdict
from sent_rl.answers.equivalence import finding
from sent_rl.answers.guard import Guard, Reply
from sent_rl.evaluation import results, sample_rows
from sent_rl.problems import Problem
from sent_rl.report.benchmarks import _rates_table
from sent_rl.rollouts import Response

ENDLESS = r"\sum_{k=1}^{1000000000} \frac{1}{k^3}"
MATRIX = (r"\left(\begin{matrix}5\\-2\end{matrix}\right)", r"\begin{pmatrix}5\\-2\end{pmatrix}")
SUM = (r"\sum_{n=1}^{\infty} \frac{1}{n^4}", r"\frac{\pi^4}{90}")
INTEGRAL = (r"\int_0^2 e^{-x} dx", "1-e^{-2}")


@pytest.fixture(scope="module")
def one_judge() -> Iterator[Guard]:
    own = Guard(1)
    yield own
    own.close()


@pytest.fixture
def asked(one_judge: Guard, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guard]:
    """Verdicts come from this guard, and none is remembered from before."""
    monkeypatch.setattr(equivalence, "_guard", one_judge)
    equivalence._remembered.cache_clear()
    yield one_judge
    equivalence._remembered.cache_clear()


@pytest.fixture
def busy() -> Iterator[None]:
    """Three times as many processes that want to run as there are cores."""
    loops = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(3 * (os.cpu_count() or 1))]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


def test_a_pair_has_one_outcome_however_busy_the_machine_is(asked: Guard, busy: None) -> None:
    """Each needs a small part of the limit, so that no noise can bring it there."""
    for pair in (MATRIX, SUM, INTEGRAL):
        replies = [asked.ask(*pair) for _ in range(6)]
        assert {reply.outcome for reply in replies} == {"same"}, pair
        assert statistics.median(reply.seconds for reply in replies) < judge.SECONDS / 3, pair


IN_PROCESS = """
import sys, time
from math_verify import parse, verify
started = time.process_time()
gold, answer = (parse(f"${text}$", parsing_timeout=None) for text in sys.argv[1:])
assert verify(gold, answer, timeout_seconds=None)
print(time.process_time() - started)
"""


@pytest.mark.parametrize(
    "pair",
    [
        (r"\left(\begin{array}{c}6\\7\end{array}\right)", r"\begin{bmatrix}6\\7\end{bmatrix}"),
        (r"\sum_{n=1}^{\infty} \frac{2}{n^6}", r"\frac{2\pi^6}{945}"),
        (r"\int_1^2 \frac{3}{x} dx", r"3\ln 2"),
    ],
    ids=["matrix", "sum", "integral"],
)
def test_a_child_need_not_prepare_what_the_judge_has_prepared(pair: tuple[str, str], request: pytest.FixtureRequest) -> None:
    """The first pair of a judge against a process that has imported math-verify and nothing else."""
    fresh = subprocess.run([sys.executable, "-c", IN_PROCESS, *pair], capture_output=True, text=True, check=True)
    guard = Guard(1)
    request.addfinalizer(guard.close)
    assert guard.ask(*pair).seconds < float(fresh.stdout) / 2


def test_the_judge_learns_to_read(asked: Guard) -> None:
    """What was parsed once is not parsed again, whatever it is compared with."""
    gold = r"\left[\frac{\pi^2}{8}, \frac{5\pi^2}{4}\right] \cup \left(\frac{7\pi^2}{4}, 3\pi^2\right]"
    first, *later = (asked.ask(gold, f"{k}").seconds for k in range(6))
    assert min(later) < first / 2


def test_sums_and_products_are_worked_out(asked: Guard) -> None:
    for text in (r"\sum_{k=0}^n \binom nk", r"\sum_{k=0}^{n}\binom{n}{k}"):
        assert asked.ask(text, "2^n").outcome == "same"
        assert asked.ask(text, "2^n+1").outcome == "different"
    assert asked.ask(r"\prod_{k=2}^{n}(1-\frac{1}{k^2})", r"\frac{n+1}{2n}").outcome == "same"


def test_what_reached_a_limit_says_which(asked: Guard) -> None:
    assert asked.ask("x", "7" * 100_000).outcome == "memory"
    assert finding("x", ENDLESS) == "time"
    assert finding("9^{9^9}", "x") == "size"
    assert finding(["9^{9^9}", "5", "6"], "6") == "same"
    assert finding(["9^{9^9}", "5", "6"], "7") == "size"


def test_a_pair_that_was_cut_off_is_remembered(asked: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equivalence, "_guard", SimpleNamespace(ask=lambda *pair: Reply("time", judge.SECONDS)))
    assert finding("x", ENDLESS) == "time"
    monkeypatch.setattr(equivalence, "_guard", None)
    assert finding("x", ENDLESS) == "time"
    assert verdict("x", ENDLESS) == "none"


class Doomed(guard._Judge):
    """A judge that is killed from outside before it hears the question."""

    def ask(self, gold: str, answer: str) -> Reply:
        self.process.kill()
        self.process.wait()
        return super().ask(gold, answer)


def test_a_verdict_that_was_lost_is_asked_for_again(asked: Guard) -> None:
    asked.close()  # so that the next one is doomed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "_Judge", Doomed)
        with pytest.warns(UserWarning, match="killed or stopped from outside"):
            assert finding(*MATRIX) == "lost"
    assert finding(*MATRIX) == "same"


def children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux")
def test_a_child_that_is_killed_from_outside_is_asked_again(asked: Guard) -> None:
    assert asked.ask(*MATRIX).outcome == "same"
    parent, replies = asked.idle[0].process.pid, []
    asking = threading.Thread(target=lambda: replies.append(asked.ask("x", ENDLESS)))
    asking.start()
    while not (found := children(parent)):
        time.sleep(0.005)
    os.kill(found[0], signal.SIGKILL)
    asking.join()
    assert replies[0].outcome == "time"
    assert replies[0].seconds > judge.SECONDS / 2  # of the second child


@pytest.mark.parametrize(
    ("end", "outcome"),
    [(signal.SIGPROF, "time"), (signal.SIGSEGV, "failed"), (signal.SIGKILL, "lost"), (signal.SIGTERM, "lost"), (None, "failed")],
)
def test_why_a_child_said_nothing(end: signal.Signals | None, outcome: str) -> None:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        if end is not None:
            signal.signal(end, signal.SIG_DFL) if end != signal.SIGKILL else None
            os.kill(os.getpid(), end)
        os._exit(0)
    os.close(write_end)
    assert judge._awaited(child, read_end)["outcome"] == outcome


def test_a_child_that_does_not_run_says_nothing_about_the_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy, or a process that is stopped, looks like this."""
    monkeypatch.setattr(judge, "PATIENCE", 0.2)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        signal.pause()
    os.close(write_end)
    assert judge._awaited(child, read_end)["outcome"] == "lost"


def test_the_quick_parse_gives_the_tree_of_the_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy

    monkeypatch.setattr(_Latex2Sympy, "create_parser", full := _Latex2Sympy.create_parser)  # is put back
    grammar = judge.Grammar()

    def tree(parsed: Callable[[Any, str], Any], text: str) -> Any:
        try:
            return parsed(_Latex2Sympy(), text).toStringTree(recog=full(_Latex2Sympy(), ""))
        except Exception:
            return None

    prepared = [text for pairs in judge.NOTATIONS.values() for pair in pairs for text in pair]
    texts = dict.fromkeys(prepared + [text for pair in (SAME + DIFFERENT)[::2] for text in pair if text])
    trees = {text: tree(lambda converter, text: full(converter, text).math(), text) for text in texts}
    assert {text: tree(grammar._parsed, text) for text in texts} == trees
    assert sum(found is not None for found in trees.values()) > 40


PIECES = [*r"0123456789xyn+-*/^_=<>(){}[]|!,. &"]
PIECES += [r"\frac", r"\sqrt", r"\sum_", r"\int", r"\prod", r"\lim", r"\binom", r"\pi", r"\infty"]
PIECES += ["^{", "_{", r"\begin{pmatrix}", r"\end{pmatrix}", r"\\", r"\left(", r"\right)", r"\cup", "dx", r"\text{", "\x00", "\ud800"]


def test_nonsense_costs_no_more_than_the_limit(asked: Guard) -> None:
    rng = random.Random(0)
    for _ in range(40):
        text = "".join(rng.choices(PIECES, k=rng.randint(1, 30)))
        reply = asked.ask("x^2+1", text)
        assert reply.outcome != "lost", text
        assert reply.seconds < 2 * judge.SECONDS, text


def test_an_evaluation_counts_why_there_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = {"\\alpha@": Reply("time", 1.0), "\\beta@": Reply("lost", 0.0)}
    other = Reply("different", 0.1)
    monkeypatch.setattr(equivalence, "_guard", SimpleNamespace(ask=lambda gold, answer: outcomes.get(answer, other)))
    equivalence._remembered.cache_clear()
    texts = ["5", "\\alpha@", "\\beta@", "\\gamma@", "9^{9^9}", "\\alpha@"]
    sampled = [(Problem("p", "?", "\\delta@"), [Response(text, 1, True) for text in texts])]
    with pytest.warns(UserWarning, match="killed or stopped from outside"):
        found = results(list(sample_rows("m", sampled, lambda text, *_: text)), [1])
    equivalence._remembered.cache_clear()
    assert found["no_verdict"] == {"m": {"lost": 1, "size": 1, "time": 2}}
    assert found["rates"]["m"]["no_verdict"] == pytest.approx(4 / 6)
    assert _rates_table({"aime24": found})[1][-1] == "66.7 % (lost: 1, size: 1, time: 2)"
