"""Write the pages of docs/ that follow from the code: the commands' help, the methods' cards, the configuration's keys.

Also the tables and figures of the committed study, docs/study/arithmetic, from its cells: in README.md and
docs/studies.md between markers. (`sent study arithmetic --out docs/study/arithmetic --page` writes its other files.)

make docs
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import click
import typer
from pydantic import BaseModel

from sent_rl.cli import app
from sent_rl.config import RunConfig
from sent_rl.methods import card, method_class, names
from sent_rl.problems.sources import Arithmetic, File, Gym, Hub
from sent_rl.report.tables import markdown
from sent_rl.study import collect_cells, load_study
from sent_rl.study.tables import overview, parts, summary

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES_WITH_BLOCKS = (ROOT / "README.md", DOCS / "studies.md")
GENERATED = "<!-- written by scripts/make_docs.py; change the code, then run `make docs` -->\n\n"


def pages() -> dict[Path, str]:
    """Every generated page: path below docs/ -> text."""
    os.environ["COLUMNS"] = "110"
    root: Any = typer.main.get_command(app)
    commands: dict[Path, str] = {}
    for name, command in root.commands.items():
        below = {f"{name} {each}": sub for each, sub in getattr(command, "commands", {}).items()} or {name: command}
        commands |= {Path("commands") / f"{each.replace(' ', '-')}.md": command_page(each, sub, root) for each, sub in below.items()}
    return {**commands, Path("methods.md"): methods_page(), Path("configuration.md"): configuration_page()}


def command_page(name: str, command: Any, root: Any) -> str:
    context = click.Context(command, info_name=name, parent=click.Context(root, info_name="sent"), terminal_width=110)
    return f"{GENERATED}# sent {name}\n\n```\n{command.get_help(context).rstrip()}\n```\n"


def methods_page() -> str:
    sections = [f"## {name}\n\n```\n{card(name)}\n```\n" for name in names()]
    listing = "\n".join(f"- [`{name}`](#{name}): {method_class(name).card().splitlines()[0].partition(': ')[2]}" for name in names())
    introduction = (
        "Every method is a *treatment* of the response tokens of one step: advantages, a weight on each token's surrogate, a KL\n"
        "coefficient for each token. `sent methods NAME` prints the card of one. A recipe chooses with `method.name`; its options are\n"
        "the other keys below `method`.\n"
    )
    return f"{GENERATED}# Methods\n\n{introduction}\n{listing}\n\n" + "\n".join(sections)


def configuration_page() -> str:
    top = {name: field for name, field in RunConfig.model_fields.items() if name != "method"}
    plain = [(name, field) for name, field in top.items() if not is_section(field.annotation)]
    parts = [GENERATED, "# Configuration\n\nThe keys of a recipe; `--set KEY=VALUE` overrides any of them.\n\n", rows(plain)]
    for name, field in top.items():
        if is_section(field.annotation):
            parts.append(section(name, field.annotation, name))
    parts.append("\n## method\n\n`name` and the options of that method: see [methods](methods.md).\n")
    kinds = {source.model_fields["kind"].default: source for source in (Arithmetic, Gym, File, Hub)}
    parts += [section(f"problems.train, problems.test: kind {kind}", source, "problems.train") for kind, source in kinds.items()]
    return "".join(parts)


def section(title: str, model: Any, prefix: str) -> str:
    return f"\n## {title}\n\n{(model.__doc__ or '').strip()}\n\n{rows(flat(model, prefix))}"


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def flat(model: type[BaseModel], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, field in model.model_fields.items():
        key = f"{prefix}.{name}"
        optional = [a for a in get_args(field.annotation) if is_section(a)] if type(None) in get_args(field.annotation) else []
        if is_section(field.annotation):
            found += flat(field.annotation, key)  # type: ignore[arg-type]
        elif not (name == "kind" and prefix.startswith("problems")):
            found.append((key, field))
        for each in optional:
            found += flat(each, key)
    return found


def rows(fields: list[tuple[str, Any]]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, field in fields:
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)!r}`"
        if "problems.t" in key and key.count(".") == 1:
            default = "`arithmetic`"
        lines.append(f"| `{key}` | {type_name(field.annotation)} | {default} | {(field.description or '').replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(type_name(a) for a in arguments)
    if annotation is type(None):
        return "null"
    if str(origin) == "typing.Literal":
        return ", ".join(map(str, arguments))
    if origin in (list, dict):
        return f"{origin.__name__} of {type_name(arguments[-1])}"
    if is_section(annotation):
        return str(annotation.model_fields["kind"].default) if "kind" in annotation.model_fields else "the keys below"
    return {"str": "text", "bool": "true or false"}.get(
        getattr(annotation, "__name__", ""), getattr(annotation, "__name__", str(annotation))
    )


def blocks() -> dict[str, str]:
    """What the cells of the committed study say: name of a block -> Markdown."""
    study = collect_cells(load_study("arithmetic"), DOCS / "study" / "arithmetic")
    arms = [arm for arm in study.arms if arm not in study.config.hidden]
    return {
        "study": markdown(overview(study, arms, study.compared_metrics)),
        "study-parts": markdown(parts(study, study.compared_metrics)),
        "study-tests": summary(study),
    }


def with_blocks(text: str, found: dict[str, str]) -> str:
    """``text`` with what stands between ``<!-- begin NAME: ... -->`` and ``<!-- end NAME -->`` renewed."""
    for name, block in found.items():
        between = rf"(<!-- begin {name}:[^>]*-->\n).*?(<!-- end {name} -->)"
        text = re.sub(between, lambda m: f"{m[1]}{block}\n{m[2]}", text, flags=re.DOTALL)  # noqa: B023
    return text


def main() -> None:
    for path, text in pages().items():
        (DOCS / path).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / path).write_text(text, encoding="utf-8")
        print(f"docs/{path}")
    found = blocks()
    for page in PAGES_WITH_BLOCKS:
        page.write_text(with_blocks(page.read_text(encoding="utf-8"), found), encoding="utf-8")
        print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
