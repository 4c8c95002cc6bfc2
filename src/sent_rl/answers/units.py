r"""Words after a number: units, which say nothing about its value, and others, which do.

``5 apples``, ``12 sq cm/hour`` and ``3 \text{ m}`` are numbers with a unit. ``5 tenths``, ``5 dozen``
and ``5 incorrect`` are not: whatever is not plainly a unit stays, and the answer is another one.
"""

from __future__ import annotations

import re


def _words(text: str) -> set[str]:
    return set(text.split())


_SHORT_UNITS = _words(
    """
    cm mm km nm kg mg ug ml mL dm ft in yd mi lb lbs oz hr hrs min mins sec secs ms Hz kHz MHz GHz kW MW
    kWh kJ MJ eV keV MeV GeV Pa kPa atm mol rad deg mph kph kmh sq cu pm am AM PM px dB erg cal kcal yr yrs
    amu Torr ppm USD EUR cc bp Rs rpm fps
    """
)
_LETTER_UNITS = set("mgshNJWVAKLCFTGl")
_UNITS = _words(
    """
    meter metre centimeter centimetre millimeter millimetre kilometer kilometre decimeter inch foot yard mile
    nanometer micrometer second minute hour day week month year decade century gram kilogram milligram ounce
    pound ton tonne liter litre milliliter millilitre gallon quart pint cup teaspoon tablespoon dollar cent
    dime nickel penny euro yuan rupee peso degree radian steradian joule watt kilowatt newton volt ampere amp
    ohm tesla gauss pascal mole kelvin celsius fahrenheit hertz megahertz byte bit person unit square cubic
    calorie knot acre hectare light-year astronomical
    """
)
_KNOWN = {*_UNITS, *(f"{unit}s" for unit in _UNITS)} | _words(
    """
    inches feet pennies centuries people children men women fish sheep deer mice teeth geese oxen dice
    cattle staff money water total left altogether
    """
)
"""Units and counted things that are known by name, in any number."""
_BETWEEN = {"of", "per", "a", "an", "the", "each", "in", "and", "on", "for"}
"""What may stand between the words of a unit: cups of tea, miles per hour."""
_SINGULAR = re.compile(r".*(?:(?<![\d.])1|/\s*\d+|\\[dt]?frac\s*\{?\d+\}?\s*\{?\d+\}?|(?<!\d)0?\.\d+)", re.DOTALL)
"""One, and fractions, are counted in the singular: 1 apple, 1/2 cup."""

_NUMBER_WORDS = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINALS = _words(
    """
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth
    fifteenth sixteenth twentieth thirtieth fortieth fiftieth hundredth thousandth millionth billionth half
    quarter
    """
)
_MULTIPLIERS = _words(
    """
    hundred thousand million billion trillion dozen score gross lakh crore grand thou mil bil kilo mega giga
    milli micro nano percent permille couple brace
    """
)
_COUNTS = {*_NUMBER_WORDS, *_TENS, *_ORDINALS, *_MULTIPLIERS} - {"second"}
_NO_UNITS = {*_COUNTS, *(f"{word}s" for word in _COUNTS), "halves", "sixes", "twenties"} | _words(
    """
    pi sqrt sin cos tan cot sec csc log exp alpha beta gamma delta epsilon theta lambda sigma omega phi psi
    rho tau infinity mod modulo base binary ternary octal decimal decimals hex hexadecimal prime
    not none if is are was be as has this that than then when where with without either or but so thus
    except unless until versus vs from to its is
    times plus minus over divided multiplied choose factorial squared cubed root power powers inverse
    reciprocal negative positive less more fewer greater lower higher most least above below under beyond
    about approximately approx roughly nearly almost around exactly maybe perhaps possibly probably always
    never only incorrect correct wrong false true right invalid undefined unknown impossible imaginary bad
    backwards forwards doubled tripled halved increased decreased rounded repeating recurring negated
    """
)
"""Fractions, multipliers and qualifiers: with them it is another number, or none."""

_WORDS = re.compile(r"[A-Za-z]+")
_POWER = r"(?:\^\{?-?\d\}?)?"
_TRAILING_WORDS = re.compile(rf"(.*[\d)}}])(\s*)([A-Za-z]+{_POWER}(?:[ /.]+[A-Za-z]+{_POWER})*)", re.DOTALL)
_SQUARED = re.compile(r"(?<=[a-z]) (?:squared|cubed)$")
_UNIT_FONT = (
    r"\\(?:text|textnormal|textsf|textit|mathit|mathrm|textrm|mbox|operatorname|rm|textbf|mathbf)\s*\{([^{}]*)\}(?:\s*\^\{?-?\d+\}?)?"
)
_UNIT_FRACTION = rf"\\[dt]?frac\s*\{{\s*{_UNIT_FONT}\s*\}}\s*\{{\s*{_UNIT_FONT}\s*\}}"
_UNITS_IN_TEXT = re.compile(rf"(?<=[\d}})\s])(?:(?:{_UNIT_FONT}|{_UNIT_FRACTION})[\s/.]*+)++(?=$|[,;)\]])")


def without_units_in_text(text: str) -> str:
    r"""``5\text{ cm}^2`` -> ``5``; what is set as text and is no unit stays: ``3\mathrm{i}``."""
    return _UNITS_IN_TEXT.sub(_without, text)


def _without(match: re.Match[str]) -> str:
    content = " ".join(re.findall(_UNIT_FONT, match[0]))
    words = _WORDS.findall(_SQUARED.sub("", content.rstrip()))
    before = match.string[: match.start()].rstrip()
    return "" if _are_units(words, before, letters=True) else match[0]


def without_trailing_units(text: str) -> str:
    """``5 apples`` and ``10weeks`` without their unit; other text as it is."""
    found = _TRAILING_WORDS.fullmatch(text)
    if found is None:
        return text
    words = _WORDS.findall(_SQUARED.sub("", found[3]))
    if not found[2] and not (words[0] in _SHORT_UNITS or words[0].lower() in _KNOWN):
        return text  # 2xyz may be a product
    return found[1].strip() if _are_units(words, found[1]) else text


def unitless(text: str) -> str | None:
    """What may be a number with a unit of one letter, without it: ``12 m``, ``3 m/s``; None for other text. ``12m`` may be a product."""
    found = _TRAILING_WORDS.fullmatch(text)
    if found is None or not found[2]:
        return None
    return found[1].strip() if _are_units(_WORDS.findall(found[3]), found[1], letters=True) else None


def _are_units(words: list[str], number: str, letters: bool = False) -> bool:
    """Whether words after a number are its unit: at least one is known as a unit or is a plural, and none says something else."""
    if any(word.lower() in _NO_UNITS and word not in _SHORT_UNITS for word in words):
        return False
    named = [word for word in words if word in _SHORT_UNITS or word.lower() in _KNOWN or (letters and word in _LETTER_UNITS)]
    plural = [word for word in words if len(word) >= 4 and word.endswith("s") and not word.endswith("ss")]
    if not (named or plural or _SINGULAR.fullmatch(number)):
        return False
    return all(word in named or word.lower() in _BETWEEN or len(word) >= 3 for word in words)


def words_to_number(text: str) -> int | None:
    """``five``, ``twenty-one`` and ``Eleven`` as numbers; None for other text."""
    words = [word for word in re.split(r"[\s-]+", text.strip().lower()) if word]
    if len(words) == 1 and words[0] in _NUMBER_WORDS:
        return _NUMBER_WORDS.index(words[0])
    if words and words[0] in _TENS:
        tens = 10 * (_TENS.index(words[0]) + 2)
        if len(words) == 1:
            return tens
        if len(words) == 2 and words[1] in _NUMBER_WORDS[1:10]:
            return tens + _NUMBER_WORDS.index(words[1])
    return None
