"""What a study is: one recipe, what each arm changes in it, and the seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sent_rl.config import RunConfig, config_from_tree, dump_config, merge, read_tree
from sent_rl.errors import UserError, nearest
from sent_rl.files import read_text

_SHARED = ("model", "problems", "prompting", "answers", "score", "evaluate")


class StudyConfig(BaseModel):
    """A study file (YAML)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[\w.-]+$", description="names the study's directory")
    description: str = Field("", description="what it asks")
    recipe: str = Field(description="the recipe that every cell runs")
    settings: dict[str, Any] = Field(default_factory=dict, description="keys of the recipe that hold for every cell, dotted")
    seeds: list[int] = Field(min_length=1, description="training seeds; every arm is run with each")
    baseline: str = Field(description="the arm that the others are compared with")
    arms: dict[str, dict[str, Any]] = Field(min_length=1, description="name -> keys of the recipe that this arm changes, dotted")
    hidden: list[str] = Field(default_factory=list, description="parts and variants: arms in a table of their own")
    paired: bool = Field(
        False,
        description="compare by seed (t test on the differences of runs with the same seed) instead "
        "of Welch's test; pays from about 8 seeds for one comparison, 10 for 15 (docs/studies.md)",
    )

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        for name in (self.baseline, *self.hidden):
            if name not in self.arms:
                raise ValueError(f"{name!r} is no arm; {nearest(name, self.arms)}")
        for name in self.arms:
            if not re.fullmatch(r"\w[\w.+-]*", name):
                raise ValueError(f"{name!r}: an arm's name becomes a folder; use letters, digits, . + - _")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: every seed once")
        return self

    def cells(self) -> list[tuple[str, int]]:
        """(arm, seed) of every cell, seed by seed, so that a study that is cut has whole rounds."""
        return [(arm, seed) for seed in self.seeds for arm in self.arms]

    def base(self) -> RunConfig:
        """The configuration that all arms share."""
        return self._resolve({}, "settings")

    def cell(self, arm: str, seed: int) -> RunConfig:
        """The configuration of one cell.

        Raises:
            UserError: no such arm or seed, or the arm changes what all arms must share.
        """
        if arm not in self.arms or seed not in self.seeds:
            raise UserError(f"cell {arm}/{seed}: no such cell; arms: {', '.join(self.arms)}; seeds: {self.seeds}")
        config = self._resolve({**self.arms[arm], "seed": seed}, f"arm {arm}")
        shared, own = dump_config(self.base()), dump_config(config)
        for section in _SHARED:
            if shared[section] != own[section]:
                raise UserError(f"arm {arm}: changes {section!r}, which all arms share; set it for the whole study")
        return config

    def _resolve(self, changes: Mapping[str, Any], origin: str) -> RunConfig:
        tree = read_tree(self.recipe)
        for key, value in {**self.settings, **changes}.items():
            merge(tree, key, value)
        return config_from_tree(tree, f"study {self.name}, {origin}")


def study_names() -> list[str]:
    """The studies that ship with the package."""
    folder = resources.files("sent_rl") / "recipes" / "studies"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_study(study: str, seeds: Sequence[int] | None = None) -> StudyConfig:
    """A study by name or file; ``seeds`` replaces its own. Every arm is checked.

    Raises:
        UserError: an unknown study, or one that cannot work.
    """
    path = Path(study)
    if study in study_names():
        text = (resources.files("sent_rl") / "recipes" / "studies" / f"{study}.yaml").read_text(encoding="utf-8")
    elif path.suffix in (".yaml", ".yml") and path.is_file():
        text = read_text(path)
    else:
        raise UserError(f"unknown study {study!r}; {nearest(study, study_names())}, or the path of a .yaml file")
    try:
        tree = yaml.safe_load(text)
        config = StudyConfig.model_validate({**tree, "seeds": list(seeds)} if seeds else tree)
    except (yaml.YAMLError, TypeError) as error:
        raise UserError(f"{study}: not a study in YAML ({' '.join(str(error).split())[:200]})") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{study}: {'.'.join(map(str, first['loc']))} {first['msg']}") from error
    for arm, seed in config.cells():
        config.cell(arm, seed)
    return config
