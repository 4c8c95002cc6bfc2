r"""What an answer is dressed in and what goes before it is read: TeX spacing and fonts, dollar signs, units, degrees."""

from __future__ import annotations

import re

_UNICODE = str.maketrans(
    {
        "\u2212": "-",  # minus sign, dashes
        "\u2013": "-",
        "\u2014": "-",
        "\u00d7": "\\times ",
        "\u00b7": "\\cdot ",
        "\u00f7": "/",
        "\u03c0": "\\pi ",
        "\u221e": "\\infty ",
        "\u00b0": "^\\circ ",
        "\u2264": "\\le ",
        "\u2265": "\\ge ",
        "\u222a": "\\cup ",
        "\u2208": "\\in ",
        "\u00b1": "\\pm ",
        "\u221a": "\\sqrt ",
        "\u00b2": "^2",
        "\u00b3": "^3",
        "\u2032": "'",
        "\u00a0": " ",
    }
)
_SPELLINGS = {
    r"\geqslant": r"\ge", r"\geq": r"\ge", r"\leqslant": r"\le", r"\leq": r"\le", r"\gt": ">", r"\lt": "<", r"\mid": "|", r"\vert": "|",
    r"\lbrace": r"\{", r"\rbrace": r"\}", r"\colon": ":",
}  # fmt: skip
_COMMAND = re.compile(r"\\[A-Za-z]+")
_SPACING = re.compile(r"(?<!\\)\\(?:(?:left|right|[bB]igg?[lr]?|displaystyle|limits|q?quad)(?![A-Za-z])|[,;:! ])|~")
_DOLLARS = re.compile(r"\\\$|\$|\\\(|\\\)|(?<!\\)\\\[|(?<!\\)\\\]")
_TEXT = r"\\(?:text|mathrm|mathbf|textbf|textit|textrm|mbox|operatorname|rm|bf)\s*\{([^{}]*)\}"
_UNIT_IN_TEXT = re.compile(rf"(?<=[\d}})])\s*(?:{_TEXT}\s*(?:\^\{{?-?\d+\}}?)?\s*[/.]?\s*)+(?=$|[,;)\]])")
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ|\{\s*\\degree\s*\}|\\degree)\s*[CFK]?(?![A-Za-z])|\\degree(?![A-Za-z])")
_PRIMES = re.compile(r"\^\s*(?:\{((?:\s*\\prime)+)\s*\}|(\\prime))")
_JOINED = re.compile(r"\s*\b(?:and|or)\b\s*")
_UNIT_IN_WORDS = re.compile(r"(-?[\d.,/^*+() -]*[\d)])\s*((?:[A-Za-z]{2,}\s*(?:\^\{?\d\}?)?[ /.]*)+)")
_NO_UNITS = {"pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "and", "or", "cup"}
_BOLD = re.compile(r"\*\*(.*)\*\*", re.DOTALL)
_BOXED = re.compile(r"\\f?boxed\s*\{(.*)\}", re.DOTALL)
_WITH_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def undress(answer: str) -> tuple[str, bool, bool]:
    """(what is left to read, whether it was a percentage, whether all of it was set as text)."""
    text = answer.translate(_UNICODE).strip()
    for wrapper in (_BOLD, _BOXED):
        whole = wrapper.fullmatch(text)
        text = whole[1].strip() if whole else text
    text = re.sub(r",\\!\s*", ",", text.replace("{,}", ","))
    text = _DOLLARS.sub("", _SPACING.sub(" ", text)).strip()
    text = _COMMAND.sub(lambda command: _SPELLINGS.get(command[0], command[0]), text)
    in_words = re.fullmatch(_TEXT, text) is not None
    text = _DEGREES.sub("", _UNIT_IN_TEXT.sub("", text))
    text = re.sub(_TEXT, r" \1 ", text)
    text = _PRIMES.sub(_as_ticks, text)
    text = re.sub(r"(?<=\d)\s*'+", "", text)  # minutes and seconds of arc
    percent = "%" in text
    text = _JOINED.sub(", ", text.replace("\\%", "").replace("%", "")).strip().rstrip(".,;").strip()
    unit = _UNIT_IN_WORDS.fullmatch(text)
    if unit and not _NO_UNITS & set(re.findall("[a-z]+", unit[2].lower())):
        text = unit[1].strip()
    return text, percent, in_words


def _as_ticks(match: re.Match[str]) -> str:
    return "'" * match[0].count("\\prime")


def without_thousands(text: str) -> str:
    """``1,234.5`` -> ``1234.5``; other text as it is."""
    return text.replace(",", "") if _WITH_THOUSANDS.fullmatch(text.strip()) else text
