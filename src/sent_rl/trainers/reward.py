"""A reward function of the user's, named by its import path: one signature for TRL and for verl.

::

    def reward(prompts, completions, **columns) -> list[float]:

It is TRL's. All arguments are lists with one entry per response:

- ``prompts``, ``completions``: text; with ``prompting.chat``, lists of chat messages.
- ``columns``: ``id``, ``answer``, ``golds`` (every right answer, ``answer`` first), ``tolerance`` and
  ``source`` of the problem, and every other column of its row (None where a row has none).

It returns one finite number per response. An ``async def`` is awaited. verl asks for one response at
a time, TRL for all of a process's share of the rollout at once.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import json
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sent_rl.errors import UserError, first_line, nearest

Columns = Mapping[str, Sequence[Any]]

_KEY = "answers.reward_function"
_GIVEN = ("prompts", "completions", "id", "answer", "golds", "tolerance", "source")
_IDS_SHOWN = 3


def load_reward(path: str, folder: Path | None = None) -> Callable[..., Any]:
    """The function that ``my_package.my_module:reward`` names, imported as ``python -m`` would from ``folder``.

    Args:
        folder: the current one where not given.

    Raises:
        UserError: no such module or attribute, an error while it is imported, or nothing that takes
            ``(prompts, completions, **columns)``.
    """
    name, _, attribute = path.partition(":")
    with _importable(str((folder or Path.cwd()).resolve())):
        module = _module(path, name)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = [each for each, value in vars(found).items() if callable(value) and not each.startswith("_")]
            raise UserError(f"{_KEY} {path}: {name} has no {part!r}; {nearest(part, known)}")
        found = getattr(found, part)
    if not callable(found) or inspect.isclass(found):
        raise UserError(f"{_KEY} {path}: is of type {type(found).__name__}, not a function")
    function: Callable[..., Any] = found
    _check_signature(path, function)
    return function


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    """The folder comes first while the module is imported, and stays at the end for what it imports later.

    At the front for good, a file of the user's such as ``datasets.py`` would stand in for a library.
    """
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def _module(path: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise UserError(f"{_KEY} {path}: no module {missing!r} in {Path.cwd()} or among the installed packages") from error
        raise UserError(f"{_KEY} {path}: {name} imports {missing!r}, which is not installed") from error
    except Exception as error:
        raise UserError(f"{_KEY} {path}: importing {name} failed ({_told(error)})") from error


def _check_signature(path: str, function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin without one
        return
    named = {
        each.name for each in signature.parameters.values() if each.kind is each.POSITIONAL_OR_KEYWORD or each.kind is each.KEYWORD_ONLY
    }
    try:  # a column that the function names may be one of the problems' own
        signature.bind(**dict.fromkeys(named | {*_GIVEN, "any_other_column"}))
    except TypeError as error:
        raise UserError(f"{_KEY} {path}: must take (prompts, completions, **columns) by name ({first_line(error)})") from error


def trl_reward(path: str) -> Callable[..., Any]:
    """The function at ``path`` as a reward function of TRL, whose returns are checked.

    The data set's column ``metadata`` is JSON text; its keys become columns.
    """
    function = load_reward(path)

    def asked(columns: dict[str, Any]) -> Columns:
        rows = [json.loads(text or "{}") for text in columns.pop("metadata")]
        return {**_spread(rows), **columns}

    async def reward_later(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        columns = dict(asked(columns))
        with _errors_named(path, columns["id"]):
            found = await function(prompts=prompts, completions=completions, **columns)
        return _checked(path, found, columns["id"])

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        columns = dict(asked(columns))
        with _errors_named(path, columns["id"]):
            found = function(prompts=prompts, completions=completions, **columns)
        return _checked(path, found, columns["id"])

    wrapped = reward_later if _is_async(function) else reward
    wrapped.__name__ = getattr(function, "__name__", "reward")  # TRL names its metrics by it
    return wrapped


def reward_of_one(path: str, folder: str, prompt: Any, completion: Any, columns: Mapping[str, Any]) -> float:
    """The reward of one response, in a process where nothing is imported yet.

    Args:
        folder: where the module may lie besides the installed packages.
        columns: of the problem; ``metadata`` is JSON text, as for :func:`trl_reward`.
    """
    function = _loaded(path, folder)
    own = {key: [value] for key, value in columns.items() if key != "metadata"}
    asked = {**_spread([json.loads(columns.get("metadata") or "{}")]), **own}
    with _errors_named(path, asked["id"]):
        found = function(prompts=[prompt], completions=[completion], **asked)
        if inspect.isawaitable(found):
            found = asyncio.run(_awaited(found))
    return _checked(path, found, asked["id"])[0]


@functools.cache
def _loaded(path: str, folder: str) -> Callable[..., Any]:
    return load_reward(path, Path(folder))


async def _awaited(found: Any) -> Any:
    return await found


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _spread(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns; None where a row lacks a key. ``accept`` is in ``golds``."""
    names = dict.fromkeys(name for row in rows for name in row if name not in ("accept", "prompts", "completions"))
    return {name: [row.get(name) for row in rows] for name in names}


@contextmanager
def _errors_named(path: str, ids: Sequence[Any]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise UserError(f"{_KEY} {path}: raised {_told(error)} {_asked_about(ids)}") from error


def _told(error: Exception) -> str:
    """An exception in one line, with the place that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {first_line(error)}; {Path(last.filename).name}, line {last.lineno}"


def _asked_about(ids: Sequence[Any]) -> str:
    problems = list(dict.fromkeys(map(str, ids)))
    more = ", ..." if len(problems) > _IDS_SHOWN else ""
    return f"on {len(ids)} responses to {', '.join(map(repr, problems[:_IDS_SHOWN]))}{more}"


def _checked(path: str, found: Any, ids: Sequence[Any]) -> list[float]:
    """One finite number per response.

    Raises:
        UserError: names the function and the response.
    """
    if isinstance(found, str | bytes | Mapping) or not hasattr(found, "__len__"):
        raise UserError(f"{_KEY} {path}: returned {found!r:.80}, not a list with one number per response, {_asked_about(ids)}")
    if len(found) != len(ids):
        raise UserError(f"{_KEY} {path}: returned {len(found)} rewards {_asked_about(ids)}; one per response is needed")
    return [_number(path, value, f"response {i} of {len(ids)}, to {ids[i - 1]!r}") for i, value in enumerate(found, 1)]


def _number(path: str, value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{_KEY} {path}: returned {value!r:.80} for {where}; a reward is a finite number")
    return number
