"""What is printed while something runs, where the output is a file or a pipe."""

from __future__ import annotations

import pytest

from sent_rl.console import LINE_EVERY, ProgressLines, StepLines, progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_file_gets_lines_at_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = ProgressLines("score", 64, clock)
    assert capsys.readouterr().out == "score: 0 of 64\n"  # at once, before anything is done
    lines.advance(0)
    for _ in range(15):  # one problem per second
        clock.now += 1
        lines.advance(1)
    assert capsys.readouterr().out == "score: 10 of 64, 0:00:10, 0:00:54 left\n"
    clock.now += LINE_EVERY
    lines.advance(49)
    lines.end()
    assert capsys.readouterr().out == "score: 64 of 64, 0:00:25, 0:00:00 left\n"  # said once


def test_resuming_says_from_where_and_does_not_count_it_as_speed(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = ProgressLines("evaluate base", 100, clock)
    lines.advance(40)
    clock.now += 20
    lines.advance(20)
    clock.now += 5
    lines.advance(40)
    lines.end()
    assert capsys.readouterr().out.splitlines() == [
        "evaluate base: 0 of 100",
        "evaluate base: goes on at 40 of 100",
        "evaluate base: 60 of 100, 0:00:20, 0:00:40 left",
        "evaluate base: 100 of 100, 0:00:25",
    ]


def test_nothing_left_to_do_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("score", 5) as advance:
        advance(5)
    assert capsys.readouterr().out.splitlines() == ["score: 0 of 5", "score: goes on at 5 of 5"]


def test_a_step_says_its_seconds_and_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    say = StepLines()
    metrics = {"stage": 0, "reward": 0.5, "entropy": 0.1, "tokens": 600}
    for step, seconds in ((1, 1.0), (2, 3.0)):
        say({**metrics, "step": step, "step_time": seconds}, 1802)
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("600 tok/s  1 s/step  0:30:01 left")
    assert second.endswith("200 tok/s  2 s/step  1:00:00 left")
    say({**metrics, "step": 3}, 1802)  # TRL has measured no time
    assert capsys.readouterr().out.endswith("- tok/s\n")
