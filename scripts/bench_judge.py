"""What math-verify costs for each pair of answers: CPU time by notation, idle and on a busy machine.

    python scripts/bench_judge.py

The first pair of a notation pays for what the judge then keeps ready. No pair is among those that
the judge prepares itself with, and no two have a text in common; then every first text of a pair is
compared with one other answer, as it happens to a gold answer. Given are medians and maxima.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sent_rl.answers.guard import Guard, Reply

Pair = tuple[str, str]
PAIRS: dict[str, list[Pair]] = {
    "matrices": [
        (
            rf"\begin{{pmatrix}}{a}&{b}\\{c}&{a + b}\end{{pmatrix}}",
            rf"\begin{{pmatrix}}{a}&{b}\\{c}&\frac{{{2 * (a + b)}}}{{2}}\end{{pmatrix}}",
        )
        for a, b, c in ((2, 0, 5), (-1, 3, 4), (7, 7, 1), (0, 12, -9))
    ]
    + [
        (rf"\left(\begin{{matrix}}{a}\\{b}\end{{matrix}}\right)", rf"\begin{{bmatrix}}{a}\\{b}\end{{bmatrix}}")
        for a, b in ((3, -4), (10, 11), (0, 1), (-6, 8))
    ],
    "finite sums": [
        (rf"\sum_{{k={a}}}^{{{a + 9}}} (k+{b})", str(sum(k + b for k in range(a, a + 10)))) for a in (1, 2, 3, 5) for b in (1, 4)
    ],
    "symbolic and infinite sums": [
        (r"\sum_{k=1}^{n} (2k-1)", "n^2"),
        (r"\sum_{i=0}^{m} 3^i", r"\frac{3^{m+1}-1}{2}"),
        (r"\sum_{n=1}^{\infty} \frac{1}{n^4}", r"\frac{\pi^4}{90}"),
        (r"\sum_{n=0}^{\infty} \frac{1}{3^n}", r"\frac{3}{2}"),
        (r"\sum_{n=1}^{\infty} \frac{1}{n(n+1)}", "1"),
        (r"\sum_{k=0}^{n} \binom{n}{k}", "2^n"),
    ],
    "integrals": [
        (r"\int_0^2 3x dx", "6"),
        (r"\int_1^3 \frac{1}{x} dx", r"\ln 3"),
        (r"\int_0^1 (x^3+2x) \, dx", r"\frac{5}{4}"),
        (r"\int_0^2 e^{-x} dx", "1-e^{-2}"),
        (r"\int_0^{\pi/2} \cos x dx", "1"),
        (r"\int_0^1 x^4 dx", r"\frac{1}{5}"),
        (r"\int 2x dx", "x^2"),
        (r"\int_0^\infty e^{-x^2} dx", r"\frac{\sqrt{\pi}}{2}"),
    ],
    "wrong answers": [
        (r"\int_0^1 x^2 dx", r"\frac{1}{2}"),
        (r"\sum_{k=1}^{n} k", "n^2"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\left(\begin{matrix}1\\3\end{matrix}\right)"),
        (r"\lim_{x\to 0} \frac{\sin 3x}{x}", "2"),
        (r"x^2+y^2=4 \text{ or } x=1", "x=1"),
    ],
    "over the limit": [
        (r"\sum_{k=1}^{1000000000} \frac{1}{k^3}", "x"),
        (r"\int_0^2 e^{e^{x^3}} \sin(x^x) dx", "x"),
        ("x", "x" + "^x" * 180),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=3 * (os.cpu_count() or 1), help="processes that compete")
    options = parser.parse_args()
    print("CPU ms of a pair; the first one with what the judge prepares before it")
    for busy in (0, options.busy):
        with competitors(busy):
            print(f"{busy} competing processes, {os.cpu_count()} cores")
            started()
            for notation, pairs in PAIRS.items():
                report(notation, pairs)


def started() -> None:
    """CPU time until a judge answers its first question, which prepares nothing."""
    guard = Guard(1)
    guard.ask("a", "b")
    print(f"  {'start of a judge':27} {1000 * cpu_seconds(guard):5.0f} ms")
    guard.close()


def report(notation: str, pairs: Sequence[Pair]) -> None:
    guard = Guard(1)
    guard.ask("a", "b")
    before = cpu_seconds(guard)
    replies = [guard.ask(*pairs[0])]
    first = cpu_seconds(guard) - before
    replies += [guard.ask(*pair) for pair in pairs[1:]]
    again = [guard.ask(gold, "17/3") for gold, _ in pairs]
    outcomes = ", ".join(f"{outcome} {n}" for outcome, n in Counter(reply.outcome for reply in replies).items())
    print(f"  {notation:27} first {1000 * first:5.0f}, later {spread(replies[1:])}, another answer {spread(again)}   {outcomes}")
    guard.close()


def spread(replies: Sequence[Reply]) -> str:
    """Median and maximum."""
    times = [1000 * reply.seconds for reply in replies]
    return f"{statistics.median(times):4.0f} ({max(times):4.0f})"


def cpu_seconds(guard: Guard) -> float:
    """CPU time of the idle judge and of its ended children, once it has learned from the last pair."""
    path, seen = Path(f"/proc/{guard.idle[0].process.pid}/stat"), -1.0
    while True:
        fields = path.read_text().rpartition(")")[2].split()
        spent = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        if fields[0] == "S" and spent == seen:
            return spent
        seen = spent
        time.sleep(0.02)


@contextmanager
def competitors(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    main()
