"""Text -> final answer -> canonical form -> are these two the same?"""

from sent_rl.answers.equivalence import Verdict, canonical, cluster, equivalent, verdict
from sent_rl.answers.extract import DEFAULT_STRATEGIES, STRATEGIES, extract

__all__ = ["DEFAULT_STRATEGIES", "STRATEGIES", "Verdict", "canonical", "cluster", "equivalent", "extract", "verdict"]
