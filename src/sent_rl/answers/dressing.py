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
        "\u2032": "'",
        "\u00a0": " ",
        "\u00bd": " 1/2",
        "\u00bc": " 1/4",
        "\u00be": " 3/4",
        "\u20ac": "",  # currencies, as the dollar
        "\u00a3": "",
    }
)
_SUPERSCRIPTS = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
_PLAIN_DIGITS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
_SPELLINGS = {
    r"\geqslant": r"\ge", r"\geq": r"\ge", r"\leqslant": r"\le", r"\leq": r"\le", r"\gt": ">", r"\lt": "<", r"\mid": "|", r"\vert": "|",
    r"\lbrace": r"\{", r"\rbrace": r"\}", r"\colon": ":", r"\lor": " or ", r"\land": " and ",
}  # fmt: skip
_COMMAND = re.compile(r"\\[A-Za-z]+")
_SPACING = re.compile(r"(?<!\\)\\(?:(?:left|right|[bB]igg?[lr]?|displaystyle|limits|q?quad)(?![A-Za-z])|[,;:! ])|~")
_DOLLARS = re.compile(r"\\\$|\$|\\\(|\\\)|(?<!\\)\\\[|(?<!\\)\\\]")
_ROW_SPACING = re.compile(r"\\\\\s*\[[^\]]*\]")
_FONT = r"\\(?:text|mathrm|mathbf|textbf|textit|textrm|mbox|operatorname|rm|bf)\s*\{([^{}]*)\}"
_UNIT_FONT = r"\\(?:text|mathrm|textrm|mbox|operatorname|rm)\s*\{([^{}]*)\}(?:\s*\^\{?-?\d+\}?)?"
_UNITS_IN_TEXT = re.compile(rf"(?<=[\d}})\s])(?:{_UNIT_FONT}[\s/.]*+)++(?=$|[,;)\]])")
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ|\{\s*\\degree\s*\}|\\degree)\s*[CFK]?(?![A-Za-z]|\s*\d)|\\degree(?![A-Za-z]|\s*\d)")
_PRIMES = re.compile(r"\^\s*(?:\{((?:\s*\\prime)+)\s*\}|(\\prime))")
_JOINED = re.compile(r"\s*\b(?:and|or)\b\s*")
_TRAILING_WORDS = re.compile(r"(.*[\d)}])(\s*)([A-Za-z]+(?:\^\{?-?\d\}?)?(?:[ /.]+[A-Za-z]+(?:\^\{?-?\d\}?)?)*)")
_INFINITE = re.compile(r"(?<![A-Za-z\\])(?:inf|infty|infinity|oo)(?![A-Za-z])", re.IGNORECASE)
_BOLD = re.compile(r"\*\*(.*)\*\*", re.DOTALL)
_BOXED = re.compile(r"\\f?boxed\s*\{(.*)\}", re.DOTALL)
_WITH_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")

_MAGNITUDES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_MAGNITUDE = re.compile(rf"(?<=\d)\s*(?:\\text\s*\{{\s*)?({'|'.join(_MAGNITUDES)})\s*\}}?(?![A-Za-z])")
_SHORT_UNITS_LIST = """
cm mm km nm kg mg ug ml mL dm ft in yd mi lb lbs oz hr hrs min sec ms Hz kHz MHz GHz kW MW kJ MJ eV keV MeV Pa kPa atm mol
rad deg mph kph kmh sq pm am px dB erg cal kcal yr yrs amu Torr ppm USD EUR cc bp
"""
_SHORT_UNITS = set(_SHORT_UNITS_LIST.split())
_LETTER_UNITS = set("mgshNJWVAKLCFTGl")
_NO_UNITS_LIST = """
pi sqrt sin cos tan cot sec csc log exp and not none half halves third thirds quarter quarters fourth fourths fifth fifths
dozen squared cubed factorial choose for then where when with either mod times plus minus over divided per cent if is the are
alpha beta gamma delta epsilon theta lambda sigma omega phi psi rho tau infinity one two three four five six seven eight nine
ten zero cup cap
"""
_NO_UNITS = set(_NO_UNITS_LIST.split())


def undress(answer: str) -> tuple[str, bool, bool]:
    """(what is left to read, whether it was a percentage, whether all of it was set as text)."""
    text = _SUPERSCRIPTS.sub(lambda run: f"^{{{run[0].translate(_PLAIN_DIGITS)}}}", answer.translate(_UNICODE)).strip()
    for wrapper in (_BOLD, _BOXED):
        whole = wrapper.fullmatch(text)
        text = whole[1].strip() if whole else text
    text = re.sub(r",\\!\s*", ",", text.replace("{,}", ","))
    text = _DOLLARS.sub("", _SPACING.sub(" ", _ROW_SPACING.sub(r"\\\\", text))).strip()
    text = _COMMAND.sub(lambda command: _SPELLINGS.get(command[0], command[0]), text).replace("<=", "\\le ").replace(">=", "\\ge ")
    in_words = re.fullmatch(_FONT, text) is not None
    text = _MAGNITUDE.sub(lambda word: f"\\cdot 10^{_MAGNITUDES[word[1]]} ", text)
    text = _DEGREES.sub("", _UNITS_IN_TEXT.sub(_without_units, text))
    text = _PRIMES.sub(_as_ticks, re.sub(_FONT, r" \1 ", text))
    text = re.sub(r"(?<=\d)\s*'+(?=\s*$)", "", text)  # minutes or seconds of arc
    percent = "%" in text
    text = _INFINITE.sub(r"\\infty ", text.replace("\\%", "").replace("%", ""))
    text = _JOINED.sub(", ", text).strip().rstrip(".,;*").strip()
    return _without_trailing_units(text), percent, in_words


def unitless(text: str) -> str | None:
    """What may be a number with a unit of one letter, without it: ``12 m``, ``3 m/s``; None for other text. ``12m`` may be a product."""
    found = _TRAILING_WORDS.fullmatch(text)
    if found is None or not found[2]:
        return None
    words = re.findall("[A-Za-z]+", found[3])
    return found[1].strip() if all(word in _LETTER_UNITS or _is_unit(word) for word in words) else None


def _is_unit(word: str, apart: bool = True) -> bool:
    """A known unit; or, where a blank stands before it, any longer word that is known to be none of other things: 5 apples."""
    return word in _SHORT_UNITS or (apart and len(word) >= 3 and word.lower() not in _NO_UNITS)


def _without_trailing_units(text: str) -> str:
    found = _TRAILING_WORDS.fullmatch(text)
    if found is None:
        return text
    words = re.findall("[A-Za-z]+", found[3])
    return found[1].strip() if all(_is_unit(word, bool(found[2])) for word in words) else text


def _without_units(match: re.Match[str]) -> str:
    r"""Nothing, where all that is set as text are units; ``3\mathrm{i}`` stays."""
    words = [word for content in re.findall(_UNIT_FONT, match[0]) for word in re.findall("[A-Za-z]+", content)]
    return "" if all(word in _LETTER_UNITS or _is_unit(word) for word in words) else match[0]


def _as_ticks(match: re.Match[str]) -> str:
    return "'" * match[0].count("\\prime")


def without_thousands(text: str) -> str:
    """``1,234.5`` -> ``1234.5``; other text as it is."""
    return text.replace(",", "") if _WITH_THOUSANDS.fullmatch(text.strip()) else text
