r"""What an answer is dressed in and what goes before it is read: TeX spacing and fonts, dollar signs, units, degrees."""

from __future__ import annotations

import re

from sent_rl.answers.units import without_trailing_units, without_units_in_text

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
        "\u2032": "'",
        "\u2260": "\\ne ",
        "\u2248": "\\approx ",
        "\u2192": "\\to ",
        "\u2229": "\\cap ",
        "\u2220": "\\angle ",
        "\u03b8": "\\theta ",
        "\u03b1": "\\alpha ",
        "\u03b2": "\\beta ",
        "\u00a0": " ",
        "\u00bd": " 1/2",
        "\u00bc": " 1/4",
        "\u00be": " 3/4",
        **dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad"),  # of no width
        "\u2009": " ",  # narrow spaces
        "\u202f": " ",
        "\u20ac": "",  # currencies, as the dollar
        "\u00a3": "",
    }
)
_SUPERSCRIPTS = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
_PLAIN_DIGITS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
_SPELLINGS = {
    r"\geqslant": r"\ge", r"\geq": r"\ge", r"\leqslant": r"\le", r"\leq": r"\le", r"\gt": ">", r"\lt": "<", r"\mid": "|", r"\vert": "|",
    r"\lbrace": r"\{", r"\rbrace": r"\}", r"\colon": ":", r"\lor": " or ", r"\land": " and ", r"\neq": r"\ne", r"\rightarrow": r"\to",
    r"\longrightarrow": r"\to", r"\backslash": r"\setminus", r"\lg": r"\log", r"\simeq": r"\approx",
    r"\varnothing": r"\emptyset", r"\nicefrac": r"\frac", r"\sfrac": r"\frac",
}  # fmt: skip
_COMMAND = re.compile(r"\\[A-Za-z]+")
_SPACING = re.compile(r"(?<!\\)\\(?:(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|q?quad)(?![A-Za-z])|[,;:! ])|~")
_DOLLARS = re.compile(r"\\\$|\$|\\\(|\\\)|(?<!\\)\\\[|(?<!\\)\\\]")
_ROW_SPACING = re.compile(r"\\\\\s*\[[^\]]*\]")
_FONTS = "text|textnormal|textsf|texttt|textbf|textit|textrm|mathit|mathsf|mathrm|mathbf|boldsymbol|emph|underline|mbox|operatorname|rm|bf"
_FONT = rf"\\(?:{_FONTS})\s*\{{([^{{}}]*)\}}"
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ|\{\s*\\degree\s*\}|\\degree)\s*[CFK]?(?![A-Za-z]|\s*\d)|\\degree(?![A-Za-z]|\s*\d)")
_ANGLE_FUNCTIONS = re.compile(r"\\?(?<![A-Za-z])(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_PRIMES = re.compile(r"\^\s*(?:\{((?:\s*\\prime)+)\s*\}|(\\prime))")
_JOINED = re.compile(r"\s*\b(?:and|or)\b\s*")
_INFINITE = re.compile(r"(?<![A-Za-z\\])(?:inf|infty|infinity|oo)(?![A-Za-z])", re.IGNORECASE)
_MARKED = re.compile(r"(?P<mark>\*\*|\*|__|`+)(.*)(?P=mark)", re.DOTALL)
_BOXED = re.compile(r"\$*\\{1,2}(?:boxed|fbox|framebox)(?:\s*\{(.*)\}|\s+([^{}]*)|(\d[^{}]*))\$*", re.DOTALL)
_SPECIAL_TOKENS = re.compile(r"(?:\s*(?:<\|[a-z_]+\|>|</?s>|<eos>|<end_of_turn>|<\uff5c[^<>]*\uff5c>|</?answer>))+\s*$")
_PERCENT = re.compile(r"(?<=[\d}])\s*(?:\\?%|\\text\s*\{\s*\\?%\s*\}|(?:\\text\s*\{\s*)?(?:percent|percentage|pct|per cent)\b\s*\}?)")
_THIN_SPACED = re.compile(r"(?<=\d)\\[,!:]\s?(?=\d{3}(?!\d))")
_TIMES_TEN = re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*(?:\^|\*\*))")
_LAST_STOP = re.compile(r"(?<!\.)[.,;*]+$(?<!\.\.)")
"""What ends a sentence; ``5...`` goes on."""
_JOINED_TIGHT = re.compile(r"(?<=[)\d}])(?:or|and)(?=[(\d\\A-Za-z])")
_WITH_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:(?:,\d{3})+|(?: \d{3})+)(?:\.\d+)?")

_MAGNITUDES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_MAGNITUDE = re.compile(rf"(?<=\d)\s*(?:\\text\s*\{{\s*)?({'|'.join(_MAGNITUDES)})\s*\}}?(?![A-Za-z])")


def undress(answer: str) -> tuple[str, bool, bool]:
    """(what is left to read, whether it was a percentage, whether all of it was set as text)."""
    text = _SPECIAL_TOKENS.sub("", answer.translate(_UNICODE))
    text = _SUPERSCRIPTS.sub(lambda run: f"^{{{run[0].translate(_PLAIN_DIGITS)}}}", text).strip()
    marked = _MARKED.fullmatch(text)
    text = marked[2].strip() if marked else text
    boxed = _BOXED.fullmatch(text)
    text = next(filter(None, boxed.groups()), "").strip() if boxed else text
    text = re.sub(r",\\!\s*", ",", text.replace("{,}", ","))
    text = _without_spacing(text)
    text = _COMMAND.sub(lambda command: _SPELLINGS.get(command[0], command[0]), text)
    text = text.replace("<=", "\\le ").replace(">=", "\\ge ").replace("!=", "\\ne ")
    in_words = re.fullmatch(_FONT, text) is not None
    text, percents = _PERCENT.subn("", _TIMES_TEN.sub(r"\\times ", text))
    text = _MAGNITUDE.sub(lambda word: f"\\cdot 10^{_MAGNITUDES[word[1]]} ", text)
    degree = r"\\degree " if _ANGLE_FUNCTIONS.search(text) else ""
    text = without_units_in_text(_DEGREES.sub(degree, text) if degree else text)
    text = _PRIMES.sub(_as_ticks, re.sub(_FONT, r" \1 ", text if degree else _DEGREES.sub("", text)))
    text = re.sub(r"(?<=\d)\s*'+(?=\s*$)", "", text)  # minutes or seconds of arc
    text = _INFINITE.sub(r"\\infty ", text)
    text = _LAST_STOP.sub("", _JOINED.sub(", ", _JOINED_TIGHT.sub(", ", text)).strip()).strip()
    return without_trailing_units(text), percents > 0, in_words


def _without_spacing(text: str) -> str:
    """Without dollars, row spacing, and TeX's spaces; a thin space inside a number goes altogether."""
    text = _THIN_SPACED.sub("", _ROW_SPACING.sub(r"\\\\", text))
    return _DOLLARS.sub("", _SPACING.sub(" ", text)).strip()


def _as_ticks(match: re.Match[str]) -> str:
    return "'" * match[0].count("\\prime")


def without_thousands(text: str) -> str:
    """``1,234.5`` and ``1 234.5`` -> ``1234.5``; other text as it is."""
    return re.sub("[, ]", "", text) if _WITH_THOUSANDS.fullmatch(text.strip()) else text
