"""Which pairs of answers math-verify is asked about: it takes the number that it finds in ``4 \\to 5`` for the answer."""

from __future__ import annotations

import re

from sent_rl.answers.forms import Form

_SUBSCRIPT = re.compile(r"_\{[^{}]*\}|_\S")
_CLAIM = re.compile(
    r"\\(?:to|(?:[Ll]ong)?(?:[Ll]eft)?[Rr]ightarrow|[Ll](?:ong)?eftarrow|implies|iff|mapsto|approx|simeq|sim|cong|equiv|neq?"
    r"|not|notin|n?mid|perp|parallel|propto|therefore|because|ldots|dots|cancel|color|textcolor)(?![A-Za-z])"
    r"|[-=]>|[\u2190-\u21ff\u2248\u2260\u2261]"
)
_SET_OPERATOR = re.compile(r"\\(?:cup|cap|setminus|backslash|subset|supset|subseteq|supseteq|in|ni)(?![A-Za-z])|[\u2229\u222a]")
_COMPUTED = re.compile(
    r"\\(?:i*int|oint|sum|prod|lim|limsup|liminf|sup|inf|max|min|gcd|lcm|det|begin|operatorname|Re|Im|arg|deg)"
    r"(?![A-Za-z])\s*(?:[_^]\s*(?:\{[^{}]*\}|[^\s{])\s*)*+\S"
)
"""Something to compute, and what it is computed of; fractions, roots and logarithms are read here."""
_PROSE = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{3,}[ ,.]+[A-Za-z]{2,}[ ,.]+[A-Za-z]{2,}")


def is_worth_asking(form: Form, text: str, other: str) -> bool:
    """Whether a pair of which ``other`` is not understood here, or both are not, may be put to math-verify.

    A number is never compared with arrows, relations or set operators, nor with a text that says
    nothing to compute; a statement is compared only with one that makes the same claims.
    """
    if _claims(text) != _claims(other) or _PROSE.search(other):
        return False
    if form.kind != "number":
        return True
    return _COMPUTED.search(other) is not None and _SET_OPERATOR.search(other) is None


def _claims(text: str) -> list[str]:
    """Arrows and relations, outside of subscripts: those of a limit are none."""
    return _CLAIM.findall(_SUBSCRIPT.sub("", text))
