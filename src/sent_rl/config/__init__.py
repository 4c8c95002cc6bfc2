"""The configuration of a run: what a recipe may say (schema), and how one is read (loading)."""

from sent_rl.config.loading import config_from_tree, dump_config, load_config, merge, read_tree, recipe_names, renewed
from sent_rl.config.schema import Hardware, RunConfig, StageReset, Train
from sent_rl.methods import Method

__all__ = [
    "Hardware",
    "Method",
    "RunConfig",
    "StageReset",
    "Train",
    "config_from_tree",
    "dump_config",
    "load_config",
    "merge",
    "read_tree",
    "recipe_names",
    "renewed",
]
