"""The process that asks math-verify about one pair after another; :mod:`sent_rl.answers.guard` starts it.

Each pair is judged in a forked child that has limits of CPU time and memory, so no answer can hang
the caller or change the verdict on another one. What keeps the children cheap:

- The parent judges fixed pairs before it forks, so that the children inherit what SymPy imports
  and caches. It does so when the first pair with the notation in question arrives.
- The parent parses again, without evaluating anything, what a child was slow to parse. The
  parser's tables then hold the shape for all later children.
- The parser's fast mode is tried before its full one, and SymPy's closed forms before
  math-verify's numerical comparison.

The limits are on CPU time, which does not depend on how busy the machine is. This file imports
nothing of sent_rl, so that it starts as fast as SymPy does.
"""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

SECONDS = 1.0
"""CPU time of one pair. Ordinary pairs need 0.01 to 0.1 s, the slowest useful ones 0.3 s."""
PATIENCE = 120.0
"""Wall-clock seconds after which a child that is stopped or starved is given up."""
MEGABYTES = 128
"""Address space of one pair, beyond what the process has to begin with."""
SLOW_PARSE = 0.005
"""CPU seconds of a parse that is worth learning from."""
LONGEST_LEARNED = 1000
"""Characters of a text that is worth learning from."""
LEARNED_MEGABYTES = 64
"""Growth of the parent at which it stops to learn."""

BASIC = (("\\frac{1}{2}", "0.5"), ("x^2+1", "1+x^2"))
NOTATIONS = {
    r"[\[\](){}]": ((r"\{1,2\}", "(1,2)"), (r"(-\infty,1]\cup[2,3)", r"[2,3)\cup(-\infty,1]")),
    r"[<>=]|\\[lg]eq?|\\in\b": (("x>3", r"(3,\infty)"), ("x+y=4", "4-y=x")),
    r"matrix|array|\\det": (
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&\frac{8}{2}\end{bmatrix}"),
        (r"\left(\begin{matrix}a\\-3\end{matrix}\right)", r"(\begin{array}{c}a\\-3\end{array})"),
    ),
    r"\\sum|\\prod": (
        (r"\sum_{k=1}^{10} k^2", "385"),
        (r"\sum_{k=0}^{n} \frac{1}{2^k}", "2-2^{-n}"),
        (r"\sum_{k=1}^{\infty} \frac{1}{k^2}", r"\frac{\pi^2}{6}"),
        (r"\prod_{k=1}^{5} k", "120"),
    ),
    r"\\int": (
        (r"\int_0^1 3x^2 dx", "1"),
        (r"\int_1^2 \frac{1}{x} \, dx", r"\ln 2"),
        (r"\int_0^{\pi} \sin x dx", "2"),
        (r"\int e^x dx", "e^x"),
    ),
    r"\\lim": ((r"\lim_{x\to 0} \frac{\sin x}{x}", "1"),),
    r"\\(sin|cos|tan|log|ln|exp)|e\^": ((r"2\sin x\cos x", r"\sin 2x"), (r"\ln e^{2}", "2")),
}
"""A pattern of notation -> pairs that the parent judges once before a child has to."""


def _verdict(gold: str, answer: str) -> bool:
    from math_verify import verify

    return bool(verify(_parsed(gold), _parsed(answer), timeout_seconds=None))


def _parsed(text: str) -> list[Any]:
    """What math-verify reads, with integrals, sums, products, limits and derivatives worked out.

    math-verify leaves them as they are, and compares them by up to seven numerical evaluations of
    growing precision: 1 s for the integral of exp(-x^2), which SymPy knows in 0.1 s.
    """
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse
    from sympy import Derivative, Expr, Integral, Limit, Product, Sum

    targets = [LatexExtractionConfig(), ExprExtractionConfig()]
    text = re.sub(r"(\\[dt]?binom)(?![a-zA-Z])\s*(\w)\s*(\w)", r"\1{\2}{\3}", text)  # it wants braces
    read = parse(f"${text}$", extraction_config=targets, parsing_timeout=None)
    open_forms = (Derivative, Integral, Limit, Product, Sum)
    return [
        each.replace(lambda part: isinstance(part, open_forms), lambda part: _closed(part, open_forms))
        if isinstance(each, Expr) and each.has(*open_forms)
        else each
        for each in read
    ]


def _closed(part: Any, open_forms: tuple[type, ...]) -> Any:
    """The closed form, without the conditions under which a sum or an integral has it."""
    from sympy import Piecewise

    found = part.doit()
    if isinstance(found, Piecewise):
        closed = [form for form, _ in found.args if not form.has(*open_forms)]
        if len(closed) == 1:
            return closed[0]
    return found


class Grammar:
    """math-verify's parser, in two stages, with a memory.

    ANTLR's SLL mode either finds the tree of its full LL mode or reports an error, and it caches
    its decisions, which LL does not. So SLL comes first, and LL where SLL fails.
    """

    def __init__(self) -> None:
        self.slow: list[str] = []
        self._trees: dict[str, Any] = {}
        with suppress(ImportError, AttributeError):  # another version: slower, no different verdicts
            self._install()

    def _install(self) -> None:
        from antlr4.atn.PredictionMode import PredictionMode
        from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy

        self._quick, self._converter = PredictionMode.SLL, _Latex2Sympy
        self._create_parser = _Latex2Sympy.create_parser
        _Latex2Sympy.create_parser = lambda converter, text: SimpleNamespace(math=lambda: self._tree(converter, text))

    def learn(self, texts: list[str]) -> None:
        """Parse texts that are known to be harmless, and keep their trees."""
        for text in texts:
            if text not in self._trees:
                self._trees[text] = None
                with suppress(Exception):  # a syntax error
                    self._trees[text] = self._parsed(self._converter(), text)

    def _tree(self, converter: Any, text: str) -> Any:
        if self._trees.get(text) is not None:
            return self._trees[text]
        started = time.process_time()
        try:
            return self._parsed(converter, text)
        finally:
            if time.process_time() - started > SLOW_PARSE and len(text) < LONGEST_LEARNED:
                self.slow.append(text)

    def _parsed(self, converter: Any, text: str) -> Any:
        parser = self._create_parser(converter, text)
        parser._interp.predictionMode = self._quick
        try:
            return parser.math()
        except Exception:  # the converter's listener raises no narrower one
            return self._create_parser(converter, text).math()


def _address_space() -> int:
    """Bytes; 0 where the system does not say (Linux does)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _peak() -> int:
    """The largest address space that this process has had, in bytes."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmPeak"))


def _limit(own: int) -> None:
    if own:
        resource.setrlimit(resource.RLIMIT_AS, (own + MEGABYTES * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)


def _judged(gold: str, answer: str) -> str:
    """In the child: same, different, memory, or failed."""
    own = _address_space()
    _limit(own)
    try:
        if _verdict(gold, answer):
            return "same"
        # math-verify and SymPy take a MemoryError for a difference. An allocation that fails comes
        # after others of a third of its size at least, since integers and lists grow by factors.
        return "memory" if own and _peak() - own > MEGABYTES * 2**20 / 4 else "different"
    except MemoryError:
        return "memory"
    except BaseException:  # whatever a parser raises, RecursionError included
        return "failed"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _of_the_dead(status: int) -> str:
    """Why a child that said nothing ended."""
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF:
        return "time"
    own_fault = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
    return "failed" if os.WIFEXITED(status) or os.WTERMSIG(status) in own_fault else "lost"


def _awaited(child: int, read_end: int) -> dict[str, Any]:
    """What the child says, and what it cost."""
    ready, _, _ = select.select([read_end], [], [], PATIENCE)
    with open(read_end, "rb") as pipe:
        said = pipe.read() if ready else b""
    if not said:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    found = json.loads(said) if said else {"outcome": _of_the_dead(status), "slow": []}
    return {**found, "seconds": usage.ru_utime + usage.ru_stime}


class Judge:
    """Forks a child for every pair."""

    def __init__(self) -> None:
        gc.disable()  # a collection would touch, and so copy, every page that a child shares
        self.grammar = Grammar()
        self.unseen = {re.compile(pattern): pairs for pattern, pairs in NOTATIONS.items()}
        self._warm_up(BASIC)
        self.learned = 0

    def _warm_up(self, pairs: tuple[tuple[str, str], ...]) -> None:
        for pair in pairs:
            _verdict(*pair)
        self.grammar.slow.clear()
        gc.freeze()

    def ask(self, gold: str, answer: str) -> dict[str, Any]:
        """``outcome``: same, different, time, memory, failed or lost; ``seconds``: the child's CPU time;
        ``slow``: what took long to parse."""
        for pattern in [p for p in self.unseen if p.search(gold) or p.search(answer)]:
            self._warm_up(self.unseen.pop(pattern))
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                gc.enable()
                said = {"outcome": _judged(gold, answer), "slow": self.grammar.slow}
                os.write(write_end, json.dumps(said).encode())
            finally:
                os._exit(0)
        os.close(write_end)
        return _awaited(child, read_end)

    def learn(self, texts: list[str]) -> None:
        """Parse what a child was slow to parse. The child has done it within its limits, so this
        process can."""
        if texts and self.learned < LEARNED_MEGABYTES * 2**20:
            before = _address_space()
            self.grammar.learn(texts)
            self.learned += _address_space() - before
            self.grammar.slow.clear()
            gc.freeze()


def main() -> None:
    """Pairs as JSON lines on the standard input, outcomes on the standard output."""
    import logging

    logging.disable(logging.CRITICAL)
    judge = Judge()
    print("ready", flush=True)
    for line in sys.stdin:
        said = judge.ask(*json.loads(line))
        print(json.dumps([said["outcome"], said["seconds"]]), flush=True)
        judge.learn(said["slow"])


if __name__ == "__main__":
    main()
