"""How good a policy is, and how sure one can be of that."""

from sent_rl.evaluation.estimators import Estimate, avg_at_k, estimate, pass_at_k
from sent_rl.evaluation.evaluate import SAMPLES, results, sample_rows

__all__ = ["SAMPLES", "Estimate", "avg_at_k", "estimate", "pass_at_k", "results", "sample_rows"]
