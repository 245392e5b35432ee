"""Product attributes: the units that an entity allows, and the numbers and the unit in a text such
as "500 gram".

UNITS has the shape of the Amazon ML Challenge 2024. It is a plain dict: copy it, edit it, give it
as `units=`.
"""

import re
import unicodedata
from itertools import pairwise
from typing import Any

import pandas as pd
import pyarrow as pa

LENGTH = ["centimetre", "foot", "inch", "metre", "millimetre", "yard"]
WEIGHT = ["gram", "kilogram", "microgram", "milligram", "ounce", "pound", "ton"]
UNITS = {
    "width": LENGTH,
    "depth": LENGTH,
    "height": LENGTH,
    "item_weight": WEIGHT,
    "maximum_weight_recommendation": WEIGHT,
    "voltage": ["kilovolt", "millivolt", "volt"],
    "wattage": ["kilowatt", "watt"],
    "item_volume": [
        "centilitre", "cubic foot", "cubic inch", "cup", "decilitre", "fluid ounce", "gallon",
        "imperial gallon", "litre", "microlitre", "millilitre", "pint", "quart",
    ],
}  # fmt: skip
# How people write a unit. Plurals, "meter" and "liter" follow by rule; case and stops do not
# matter.
SPELLINGS = {
    "centimetre": "cm",
    "foot": "ft|feet|'",
    "inch": 'in|inches|"',
    "metre": "m",
    "millimetre": "mm",
    "yard": "yd",
    "gram": "g|gm|gramme",
    "kilogram": "kg|kilo",
    "microgram": "μg|ug|mcg",
    "milligram": "mg",
    "ounce": "oz",
    "pound": "lb",
    "ton": "ton",
    "kilovolt": "kv",
    "millivolt": "mv",
    "volt": "v",
    "kilowatt": "kw",
    "watt": "w",
    "horsepower": "hp",
    "centilitre": "cl",
    "cubic foot": "ft3|cu ft|cubic feet",
    "cup": "cup",
    "cubic inch": "in3|cu in|cubic inches",
    "decilitre": "dl",
    "fluid ounce": "fl oz|floz",
    "gallon": "gal",
    "imperial gallon": "imp gal|uk gal",
    "litre": "l|ltr",
    "microlitre": "μl|ul",
    "millilitre": "ml",
    "pint": "pt",
    "quart": "qt",
}
FULL = {spelling: name for name, text in SPELLINGS.items() for spelling in (name, *text.split("|"))}
# So that 110/240 volt stays two numbers.
FRACTION = r"(\d+)\s*/\s*(2|3|4|5|6|8|10|16|32|64)(?![\d.,])"
NUMBER = re.compile(
    rf"(?:(?<![\w.,])(?:(\d+)(?:\s+|-))?{FRACTION})"
    r"|(?<![^\W\d_])(\d+(?:[.,]\d+)*(?:e[+-]?\d\d?)?|[.,]\d+)"
)
# What joins numbers and is no unit.
BETWEEN = re.compile(r"\b(?:to|x|by|and|or)\b|[-–—~;,/&()\[\]:×]")


def parse(value: str | None, entity: str, units: dict[str, list[str]] = UNITS) -> dict[str, Any]:
    """The numbers and the unit of a value, and whether the entity allows them.

    {"values": [500.0], "unit": "gram", "allowed": True, "problem": ""}. A range, a list and
    "5 in x 3 in" have several values. 1,000 is a thousand, 2,5 is two and a half. Nothing is
    converted. What cannot be read, or has a unit that the entity does not allow, has its reason in
    `problem`.

    >>> parse("10 kg to 15 kilogram", "item_weight")
    {'values': [10.0, 15.0], 'unit': 'kilogram', 'allowed': True, 'problem': ''}
    >>> parse("1 1/2 hp", "wattage")["problem"]
    "wattage allows kilowatt, watt; not 'horsepower'"
    """
    text = _normalised(value or "")
    matches = list(NUMBER.finditer(text))
    allowed = units.get(entity, [])
    names = _unit_names(text, matches, allowed)
    try:
        values = [number for match in matches for number in _numbers_in(match)]
    except ValueError:
        values = []
    before = text[: matches[0].start()].strip(" [(") if matches else ""
    if not text:
        problem = "empty"
    elif not matches:
        problem = f"no number in {value!r}"
    elif not values:
        problem = f"{value!r} is no number"
    elif before:
        problem = f"{before!r} stands before the number"
    elif entity not in units:
        problem = f"no entity {entity!r}; the table has: {', '.join(units)}"
    elif not names:
        problem = "no unit"
    elif len(names) > 1:
        problem = f"more than one unit: {', '.join(names)}"
    elif names[0] not in allowed:
        problem = f"{entity} allows {', '.join(allowed)}; not {names[0]!r}"
    else:
        problem = ""
    return {"values": values, "unit": ", ".join(names), "allowed": not problem, "problem": problem}


def problems(
    table: pa.Table,
    value_column: str = "entity_value",
    entity_column: str = "entity_name",
    units: dict[str, list[str]] = UNITS,
) -> pd.DataFrame:
    """The rows (from 0) whose value is not allowed, and why.

    Empty where the table has no such columns.
    """
    if not {value_column, entity_column} <= set(table.column_names):
        return pd.DataFrame()
    entities, values = table[entity_column].to_pylist(), table[value_column].to_pylist()
    pairs = list(zip(entities, values, strict=True))
    # Labels repeat: each pair is read once.
    why = {}
    for entity, value in set(pairs):
        why[entity, value] = parse(value, entity, units)["problem"]
    found = [(row, *pair, why[pair]) for row, pair in enumerate(pairs) if why[pair]]
    return pd.DataFrame(found, columns=["row", "entity", "value", "why"])


def _normalised(text: str) -> str:
    """Lower case, ASCII fractions, no commas between the numbers of a [list]."""
    apart = re.sub("([¼½¾⅐-⅞])", r" \1", text)
    text = unicodedata.normalize("NFKC", apart).replace("⁄", "/").lower()
    return re.sub(r"\[[^]]*\]", lambda m: m[0].replace(",", ";"), text).strip()


def _unit_names(text: str, matches: list[re.Match[str]], allowed: list[str]) -> list[str]:
    """The units that stand behind the numbers, each once."""
    after = [text[one.end() : following.start()] for one, following in pairwise(matches)]
    if matches:
        after.append(text[matches[-1].end() :])
    words = [" ".join(BETWEEN.sub(" ", piece).split()) for piece in after]
    return list(dict.fromkeys(_unit(word, allowed) for word in words if word))


def _numbers_in(match: re.Match[str]) -> list[float]:
    whole, over, under, decimal = match.groups()
    if decimal is None:
        if int(over) < int(under):
            return [int(whole or 0) + int(over) / int(under)]
        return [float(n) for n in (whole, over, under) if n]
    # 1,000 is a thousand where groups of three are whole; 0,250 and 2,5 are decimals.
    is_thousands = re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+(\.\d+)?", decimal)
    return [float(decimal.replace(",", "" if is_thousands else "."))]


def _unit(word: str, allowed: list[str]) -> str:
    """The unit's full name, or the word itself when it is none."""
    word = word.replace(".", "").replace("liter", "litre").replace("meter", "metre")
    names = {**FULL, **{name.lower(): name for name in allowed}}
    return names.get(word) or names.get(word.removesuffix("s"), word)
