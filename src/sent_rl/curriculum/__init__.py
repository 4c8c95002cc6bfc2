"""From answers to an order: semantic entropy, stages, and the sampler that walks them."""

from sent_rl.curriculum.counts import ScoreCounts
from sent_rl.curriculum.entropy import SemanticEntropy, semantic_entropy
from sent_rl.curriculum.online import OnlineStages
from sent_rl.curriculum.reading import counted_answer
from sent_rl.curriculum.sampler import StageSampler
from sent_rl.curriculum.scoring import CURRICULUM, SCORES, score_rows, stage_facts, stage_rows
from sent_rl.curriculum.stages import Stages, equal_sizes, make_stages

__all__ = [
    "CURRICULUM",
    "SCORES",
    "OnlineStages",
    "ScoreCounts",
    "SemanticEntropy",
    "StageSampler",
    "Stages",
    "counted_answer",
    "equal_sizes",
    "make_stages",
    "score_rows",
    "semantic_entropy",
    "stage_facts",
    "stage_rows",
]
