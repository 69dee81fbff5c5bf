"""Verb forms, free choices and slots: from a wording to text, and from text back to its pattern.

``mask`` undoes ``fill``: it replaces every slot value by its slot's sign and keeps, of two numbers
that belong together, only which one is larger. Two texts of one pattern differ in nothing that
depends on the event, so p(label | text) = p(label | pattern).
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product

import numpy as np

__all__ = [
    "COMPANIES",
    "FORMS",
    "SLOT",
    "VALUES",
    "compared",
    "conjugate",
    "expand",
    "fill",
    "inflect",
    "mask",
]

FORMS = ("s", "ed", "ing", "to")

_STEMS = "Bran Corv Dask Elm Farn Grel Holv Jask Kell Lorv Mard Nolv Ostr Pell Quor Tarn Velm Wisk"
_ENDINGS = "adune amask entor irral orrin oway ulane ythe"
COMPANIES = tuple(stem + ending for stem in _STEMS.split() for ending in _ENDINGS.split())

# Companies, brokers, agencies and authorities are invented or generic.
VALUES: dict[str, tuple[str, ...]] = {
    "B": ("Ardmoora", "Castrelle", "Dunvash", "Hollisk", "Norvey", "Penhask", "Rosk & Tull"),
    "R": (
        "the antitrust office",
        "the market watchdog",
        "the tax office",
        "the trade regulator",
    ),
    "H": ("the drug regulator", "the health agency", "the medicines board"),
    "U": ("cable", "chemicals", "insurance", "leasing", "logistics", "packaging", "paper"),
    "P": ("cameras", "laptops", "ovens", "phones", "scooters", "sensors", "trucks", "watches"),
    "X": ("asthma spray", "cancer test", "eye drops", "heart drug", "skin cream", "vaccine"),
    "t": ("its accounts", "its data use", "its exports", "its marketing", "its pricing"),
    "t2": ("a broken contract", "a design", "patents", "trade secrets", "unpaid bills"),
    "rel": ("customer", "partner", "peer", "rival", "supplier"),
    "Rel": ("Customer", "Partner", "Peer", "Rival", "Supplier"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
    "city": ("Geneva", "Lisbon", "Lyon", "Oslo", "Porto", "Riga", "Tallinn", "Turin"),
}
_COMPANY_SLOTS = ("F", "O", "G")

# Third person, past and gerund of verbs that the rules in `inflect` would get wrong.
_IRREGULAR = {
    "beat": ("beats", "beat", "beating"),
    "begin": ("begins", "began", "beginning"),
    "bring": ("brings", "brought", "bringing"),
    "buy": ("buys", "bought", "buying"),
    "cut": ("cuts", "cut", "cutting"),
    "draw": ("draws", "drew", "drawing"),
    "drop": ("drops", "dropped", "dropping"),
    "fight": ("fights", "fought", "fighting"),
    "find": ("finds", "found", "finding"),
    "forecast": ("forecasts", "forecast", "forecasting"),
    "get": ("gets", "got", "getting"),
    "give": ("gives", "gave", "giving"),
    "go": ("goes", "went", "going"),
    "have": ("has", "had", "having"),
    "hear": ("hears", "heard", "hearing"),
    "hit": ("hits", "hit", "hitting"),
    "hold": ("holds", "held", "holding"),
    "keep": ("keeps", "kept", "keeping"),
    "lay": ("lays", "laid", "laying"),
    "leave": ("leaves", "left", "leaving"),
    "let": ("lets", "let", "letting"),
    "lose": ("loses", "lost", "losing"),
    "make": ("makes", "made", "making"),
    "meet": ("meets", "met", "meeting"),
    "pay": ("pays", "paid", "paying"),
    "put": ("puts", "put", "putting"),
    "run": ("runs", "ran", "running"),
    "say": ("says", "said", "saying"),
    "scrap": ("scraps", "scrapped", "scrapping"),
    "see": ("sees", "saw", "seeing"),
    "seek": ("seeks", "sought", "seeking"),
    "sell": ("sells", "sold", "selling"),
    "set": ("sets", "set", "setting"),
    "shed": ("sheds", "shed", "shedding"),
    "ship": ("ships", "shipped", "shipping"),
    "shrink": ("shrinks", "shrank", "shrinking"),
    "snap": ("snaps", "snapped", "snapping"),
    "spend": ("spends", "spent", "spending"),
    "stand": ("stands", "stood", "standing"),
    "stop": ("stops", "stopped", "stopping"),
    "take": ("takes", "took", "taking"),
    "tap": ("taps", "tapped", "tapping"),
    "thin": ("thins", "thinned", "thinning"),
    "top": ("tops", "topped", "topping"),
    "trim": ("trims", "trimmed", "trimming"),
    "win": ("wins", "won", "winning"),
    "withdraw": ("withdraws", "withdrew", "withdrawing"),
}


@cache
def inflect(verb: str, form: str) -> str:
    """Third person ``s``, past ``ed``, gerund ``ing`` or infinitive ``to`` (its bare form)."""
    if form == "to":
        return verb
    if verb in _IRREGULAR:
        return _IRREGULAR[verb][FORMS.index(form)]
    soft = verb.endswith("y") and verb[-2] not in "aeiou"
    if form == "s":
        if soft:
            return verb[:-1] + "ies"
        return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z")) else "s")
    if form == "ed":
        if soft:
            return verb[:-1] + "ied"
        return verb + ("d" if verb.endswith("e") else "ed")
    drops_e = verb.endswith("e") and not verb.endswith(("ee", "ye", "oe"))
    return (verb[:-1] if drops_e else verb) + "ing"


@cache
def expand(wording: str) -> tuple[str, ...]:
    """Every way to take the ``[a|b]`` choices of a wording; each is equally likely."""
    parts = [part.split("|") for part in re.split(r"[\[\]]", wording)]
    return tuple("".join(choice) for choice in product(*parts))


def conjugate(wording: str, form: str) -> str:
    """Put the first word of a wording, its verb, into a form."""
    verb, rest = wording.split(" ", 1)
    return f"{inflect(verb, form)} {rest}"


SLOT = re.compile(r"\{(\w+)\}")


def fill(pattern: str, rng: np.random.Generator, taken: set[str]) -> dict[str, str]:
    """Draw a value for every slot of a pattern; companies are never those already taken.

    Returns slot name -> text; the names of companies drawn are added to ``taken``.
    """
    values: dict[str, str] = {}
    for slot in dict.fromkeys(SLOT.findall(pattern)):
        if slot in values:  # the other half of a pair of prices
            continue
        if slot in _COMPANY_SLOTS:
            name = _pick(COMPANIES, rng)
            while name in taken:
                name = _pick(COMPANIES, rng)
            taken.add(name)
            values[slot] = name
        elif slot in ("lo", "hi"):
            low = int(rng.integers(11, 80))
            values |= {"lo": f"${low}", "hi": f"${low + int(rng.integers(2, 20))}"}
        elif slot in ("elo", "ehi"):
            low = int(rng.integers(20, 300))
            high = low + int(rng.integers(5, 60))
            values |= {"elo": f"${low / 100:.2f}", "ehi": f"${high / 100:.2f}"}
        elif slot in _NUMBERS:
            values[slot] = _NUMBERS[slot](int(rng.integers(0, 97)))
        else:
            values[slot] = _pick(VALUES[slot], rng)
    return values


# From a whole number below 97 to a percentage, money, a head count and a few years.
_NUMBERS = {
    "pct": lambda i: f"{2 + i % 24}%",
    "m": lambda i: f"${110 + 9 * i}m",
    "n": lambda i: f"{200 + 35 * i}",
    "k": lambda i: f"{2 + i % 12}",
}


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _signs() -> dict[str, str]:
    signs = dict.fromkeys(COMPANIES, "§C")
    for slot, options in VALUES.items():
        signs |= dict.fromkeys(options, f"§{slot}")
    return signs


_SIGNS = _signs()
_NAMES = re.compile(
    r"(?<!\w)(?:" + "|".join(map(re.escape, sorted(_SIGNS, key=len, reverse=True))) + r")(?!\w)"
)
_PAIR = re.compile(r"\$(\d+\.\d\d|\d+)(?![\dm.])(.*?)\$(\d+\.\d\d|\d+)(?![\dm.])")
_NUMBER_SIGNS = (
    (re.compile(r"\$\d+m"), "§m"),
    (re.compile(r"\d+%"), "§pct"),
    (re.compile(r"\b\d{3,}\b"), "§n"),
    (re.compile(r"\b\d{1,2}\b"), "§k"),
)


def compared(text: str) -> tuple[str, str, str] | None:
    """Compare the first pair of prices: (first, "more" or "less", second), or None."""
    match = _PAIR.search(text)
    if match is None:
        return None
    first, _, second = match.groups()
    return f"${first}", "more" if float(first) > float(second) else "less", f"${second}"


def mask(text: str) -> str:
    """Reduce a text to its pattern: slots become signs, a pair of numbers becomes its order."""

    def pair(match: re.Match[str]) -> str:
        first, between, second = match.groups()
        kind = "e" if "." in first else "d"
        order = "more" if float(first) > float(second) else "less"
        return f"§{kind}{order}{between}§{kind}"

    masked = _PAIR.sub(pair, text)
    for number, sign in _NUMBER_SIGNS:
        masked = number.sub(sign, masked)
    return _NAMES.sub(lambda match: _SIGNS[match.group()], masked)
