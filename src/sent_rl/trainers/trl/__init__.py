"""SENT and the other methods as a drop-in for TRL's GRPO trainer.

Importing this package imports TRL, which takes seconds. TRL's telemetry is off unless HF_HUB_DISABLE_TELEMETRY says otherwise.
"""

import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from sent_rl.trainers.trl.config import SENTConfig
from sent_rl.trainers.trl.trainer import SENTTrainer

__all__ = ["SENTConfig", "SENTTrainer"]
