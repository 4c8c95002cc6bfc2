"""What to report about a table of scores: means, and the responses that gave no answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TOO_MANY = 0.10
"""Share of the responses above which a warning names what to change."""


@dataclass
class ScoreCounts:
    """Sums over the rows of SCORES.

    ``truncated``: responses that were cut off at the token limit; ``silent``: those of them that had
    stated no answer yet; ``unparsed``: responses that ended by themselves, but no answer was found
    in them; ``unanswered``: problems without any answer.
    """

    problems: int = 0
    entropy: float = 0.0
    pass_rate: float = 0.0
    drawn: int = 0
    truncated: int = 0
    silent: int = 0
    unparsed: int = 0
    unanswered: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one problem and its responses."""
        # a table that was made elsewhere may have empty columns
        drawn, truncated, unparsed = (row[key] or 0 for key in ("samples", "truncated", "unparsed"))
        missing = sum(answer is None for answer in row["answers"] or ())
        self.problems += 1
        self.entropy += row["semantic_entropy"]
        self.pass_rate += row["pass_rate"]
        self.drawn += drawn
        self.truncated += truncated
        self.silent += max(0, missing - unparsed)
        self.unparsed += unparsed
        self.unanswered += 0 < drawn == missing

    def facts(self) -> dict[str, Any]:
        """For a table's metadata: shares of the responses, and the number of unanswered problems."""
        return {
            "drawn": self.drawn,
            "truncated": self._share(self.truncated),
            "truncated_without_answer": self._share(self.silent),
            "unparsed": self._share(self.unparsed),
            "problems_without_answer": self.unanswered,
        }

    def lines(self, max_tokens: int) -> list[str]:
        """Means and shares, for a person."""
        truncated, silent, unparsed = map(self._share, (self.truncated, self.silent, self.unparsed))
        return [
            f"scored {self.problems} problems: mean semantic entropy {self.entropy / self.problems:.3f} nats, "
            f"pass rate {self.pass_rate / self.problems:.3f}",
            f"responses: {truncated:.1%} cut off at {max_tokens} tokens ({silent:.1%} without an answer), "
            f"{unparsed:.1%} ended without a readable answer; {self.unanswered} problems have no answer at all",
        ]

    def warnings(self, max_tokens: int | None, strategies: Sequence[str]) -> list[str]:
        """What is wrong with more than a tenth of the responses, and what to change.

        Args:
            max_tokens: the limit that they were drawn with; None where it is not known.
            strategies: what their answers were read with.
        """
        found = []
        truncated, silent, unparsed = map(self._share, (self.truncated, self.silent, self.unparsed))
        if truncated > TOO_MANY:
            limit = "" if max_tokens is None else f" at {max_tokens} tokens"
            late = truncated - silent > silent
            stop = ", or name the token that ends an answer in model.stop" if late else ""
            found.append(
                f"{truncated:.0%} of the responses were cut off{limit}, {silent:.0%} without an answer; "
                f"raise score.sampling.max_tokens{stop}"
            )
        if unparsed > TOO_MANY:
            found.append(
                f"{unparsed:.0%} of the responses ended without an answer that {', '.join(strategies)} can read; "
                "change answers.score (null: the reward's, from answers.extract), or ask for such an answer in prompting.template"
            )
        return found

    def _share(self, count: int) -> float:
        return count / max(1, self.drawn)
