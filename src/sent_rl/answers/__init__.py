"""Text -> final answer -> canonical form -> are these two the same?"""

from sent_rl.answers.equivalence import Verdict, canonical, cluster, equivalent, verdict
from sent_rl.answers.extract import (
    DEFAULT_STRATEGIES,
    LOOSE_STRATEGIES,
    STATED_STRATEGIES,
    STRATEGIES,
    ends_in_thought,
    extract,
)

__all__ = [
    "DEFAULT_STRATEGIES",
    "LOOSE_STRATEGIES",
    "STATED_STRATEGIES",
    "STRATEGIES",
    "Verdict",
    "canonical",
    "cluster",
    "ends_in_thought",
    "equivalent",
    "extract",
    "verdict",
]
