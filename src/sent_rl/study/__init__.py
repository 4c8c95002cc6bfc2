"""A grid of methods and seeds over one recipe: run cell by cell, compared with intervals, shown on one page."""

from sent_rl.study.config import StudyConfig, load_study, study_names
from sent_rl.study.grid import run_cell, run_study
from sent_rl.study.page import write_study
from sent_rl.study.results import Study, collect_cells

__all__ = ["Study", "StudyConfig", "collect_cells", "load_study", "run_cell", "run_study", "study_names", "write_study"]
