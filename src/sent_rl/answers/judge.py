"""A process that asks math-verify, each pair in a forked child that has little time and memory; :mod:`sent_rl.answers.guard` runs it.

math-verify stops itself with SIGALRM, which works in a main thread only, and can need 5 s and 800 MB for one answer. Here the kernel ends
the child that takes too long, by its own processor time, so that a verdict does not depend on how busy the machine is. Imports nothing
of sent_rl: it starts in the time that SymPy takes.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
from typing import Any

SECONDS = 0.5
"""Processor time of a verdict, some ten times what the slowest of ordinary answers need; twenty times as much on the clock."""
MEGABYTES = 128
"""Memory of a verdict, beyond what the process has to begin with."""


def _verdict(gold: str, answer: str) -> bool:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    def parsed(text: str) -> Any:
        return parse(f"${text}$", extraction_config=[LatexExtractionConfig(), ExprExtractionConfig()], parsing_timeout=None)

    return bool(verify(parsed(gold), parsed(answer), timeout_seconds=None))


def _own_bytes() -> int:
    """Address space of this process; 0 where the system does not say (it is Linux that does)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _limit() -> None:
    own = _own_bytes()
    if own:
        resource.setrlimit(resource.RLIMIT_AS, (own + MEGABYTES * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)


def _in_child(gold: str, answer: str) -> bool | None:
    """True, False, or None where there was no verdict in time."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        code = b"n"
        try:
            _limit()
            code = b"t" if _verdict(gold, answer) else b"f"
        except BaseException:  # whatever a parser raises, MemoryError and RecursionError included: no verdict
            pass
        os.write(write_end, code)
        os._exit(0)
    os.close(write_end)
    ready, _, _ = select.select([read_end], [], [], 20 * SECONDS)
    said = os.read(read_end, 1) if ready else b""
    os.close(read_end)
    if not said:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return {b"t": True, b"f": False}.get(said)


def main() -> None:
    """Pairs as JSON lines on the standard input, verdicts on the standard output, until the input ends."""
    import logging

    logging.disable(logging.CRITICAL)
    for pair in (("\\frac{1}{2}", "0.5"), ("x^2+1", "1+x^2"), ("\\{1,2\\}", "(1,2)"), ("x>3", "(3,\\infty)")):
        _verdict(*pair)  # what these import and cache, every child has
    out = sys.stdout
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        gold, answer = json.loads(line)
        print(json.dumps(_in_child(gold, answer)), file=out, flush=True)


if __name__ == "__main__":
    main()
