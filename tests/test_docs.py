"""The pages that follow from the code do follow from it, and every link leads somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from sent_rl.study import collect_cells, load_study
from sent_rl.study.tables import as_markdown, results_tables, verdict_tables

ROOT = Path(__file__).parents[1]


def make_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date() -> None:
    for path, text in make_docs().pages().items():
        assert (ROOT / "docs" / path).read_text(encoding="utf-8") == text, f"docs/{path}: run `make docs`"


def test_the_studys_figures_follow_from_its_cells() -> None:
    tools = make_docs()
    blocks = tools.blocks()
    for page in tools.PAGES_WITH_BLOCKS:
        text = page.read_text(encoding="utf-8")
        assert tools.with_blocks(text, blocks) == text, f"{page.name}: run `make docs`"
        assert f"{blocks['study']}\n<!-- end study -->" in text
    changed = {name: f"{text} changed" for name, text in blocks.items()}
    assert tools.with_blocks(text, changed).count(" changed\n<!-- end ") == 3


@pytest.mark.parametrize(("name", "folder"), [("arithmetic", "arithmetic"), ("arithmetic-tune", "tune")])
def test_committed_tables_follow_from_their_cells(name: str, folder: str) -> None:
    place = ROOT / "docs" / "study" / folder
    study = collect_cells(load_study(name), place)
    text = as_markdown([*results_tables(study), *verdict_tables(study)])
    assert (place / "table.md").read_text(encoding="utf-8") == text, f"run `sent study {name} --out docs/study/{folder} --page`"


PAGES = [page for page in sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md"]) if "run" not in page.parts]  # a study may be running


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_imports_run_one_way() -> None:
    """The core imports neither TRL nor verl, and no room imports one further down the way of the data."""
    rooms = ["errors", "files", "tokens", "problems", "models", "rollouts", "answers", "curriculum", "methods", "objective"]
    rooms += ["evaluation", "config", "pricing", "trainers", "console", "report", "doctor", "pipeline", "study", "cli", "train"]
    package = ROOT / "src" / "sent_rl"
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        text = path.read_text(encoding="utf-8")
        for imported in re.findall(r"^\s*(?:from|import) sent_rl\.(\w+)", text, flags=re.MULTILINE):
            assert rooms.index(imported) <= rooms.index(room), f"{path.relative_to(package)} imports {imported}"
        if room != "trainers":
            assert not re.search(r"^\s*(?:from|import) (?:trl|verl)\b", text, flags=re.MULTILINE), path
