import csv
import json
from collections import Counter

import pyarrow as pa
import pytest

from imgprep.rows import entities
from imgprep.rows.entities import parse


@pytest.mark.parametrize(
    ("value", "entity", "values", "unit"),
    [
        ("500 gram", "item_weight", [500], "gram"),
        ("500.0 grams", "item_weight", [500], "gram"),
        ("500g", "item_weight", [500], "gram"),
        ("0.709 Gram", "item_weight", [0.709], "gram"),
        (".5 kg", "item_weight", [0.5], "kilogram"),
        ("1e-05 gram", "item_weight", [1e-05], "gram"),
        ("1,000 gram", "item_weight", [1000], "gram"),
        ("1,234,567.5 mg", "item_weight", [1234567.5], "milligram"),
        ("1.234 g", "item_weight", [1.234], "gram"),
        ("0,500 kg", "item_weight", [0.5], "kilogram"),
        ("2,5 l", "item_volume", [2.5], "litre"),
        ("10 kilogram to 15 kilogram", "item_weight", [10, 15], "kilogram"),
        ("10 to 15 kgs", "item_weight", [10, 15], "kilogram"),
        ("10-15kg", "item_weight", [10, 15], "kilogram"),
        ("10 kg – 15", "item_weight", [10, 15], "kilogram"),
        ("[100.0, 240.0] volt", "voltage", [100, 240], "volt"),
        ("[100,240] volt", "voltage", [100, 240], "volt"),
        ("110/240 V", "voltage", [110, 240], "volt"),
        ("12/6 V", "voltage", [12, 6], "volt"),
        ("100-240V~", "voltage", [100, 240], "volt"),
        ("1/2 cup", "item_volume", [0.5], "cup"),
        ("½ cup", "item_volume", [0.5], "cup"),
        ("1 1/2 cups", "item_volume", [1.5], "cup"),
        ("1½ cup", "item_volume", [1.5], "cup"),
        ("1-1/2 in", "width", [1.5], "inch"),
        ("15/16 inch", "width", [0.9375], "inch"),
        ("12 fl. oz.", "item_volume", [12], "fluid ounce"),
        ("12 Fluid Ounces", "item_volume", [12], "fluid ounce"),
        ("3 Liters", "item_volume", [3], "litre"),
        ("5 µl", "item_volume", [5], "microlitre"),
        ("2 ft3", "item_volume", [2], "cubic foot"),
        ("2 in³", "item_volume", [2], "cubic inch"),
        ("2 imp. gal", "item_volume", [2], "imperial gallon"),
        ("5 in x 3 in", "width", [5, 3], "inch"),
        ('6"', "width", [6], "inch"),
        ("6'", "height", [6], "foot"),
        ("1.2 KW", "wattage", [1.2], "kilowatt"),
    ],
)
def test_what_people_write(value, entity, values, unit):
    assert parse(value, entity) == {"values": values, "unit": unit, "allowed": True, "problem": ""}


@pytest.mark.parametrize(
    ("value", "entity", "values", "unit", "problem"),
    [
        (
            "0.5 horsepower",
            "wattage",
            [0.5],
            "horsepower",
            "wattage allows kilowatt, watt; not 'horsepower'",
        ),
        ("5 gram", "voltage", [5], "gram", "voltage allows kilovolt, millivolt, volt; not 'gram'"),
        ("6.75 blobs", "wattage", [6.75], "blobs", "wattage allows kilowatt, watt; not 'blobs'"),
        ("5 ft 3 in", "width", [5, 3], "foot, inch", "more than one unit: foot, inch"),
        (
            "500 g to 1 kg",
            "item_weight",
            [500, 1],
            "gram, kilogram",
            "more than one unit: gram, kilogram",
        ),
        ("500", "item_weight", [500], "", "no unit"),
        ("gram", "item_weight", [], "", "no number in 'gram'"),
        ("1,2,3 gram", "item_weight", [], "gram", "'1,2,3 gram' is no number"),
        ("-5 gram", "item_weight", [5], "gram", "'-' stands before the number"),
        ("about 5 gram", "item_weight", [5], "gram", "'about' stands before the number"),
        ("", "item_weight", [], "", "empty"),
        (None, "item_weight", [], "", "empty"),
        (
            "5 gram",
            "weight",
            [5],
            "gram",
            f"no entity 'weight'; the table has: {', '.join(entities.UNITS)}",
        ),
    ],
)
def test_what_is_not_allowed_says_why(value, entity, values, unit, problem):
    assert parse(value, entity) == {
        "values": values,
        "unit": unit,
        "allowed": False,
        "problem": problem,
    }


def test_the_table_of_units_can_be_edited():
    assert parse("5 blobs", "charm", {"charm": ["Blob"]}) == {
        "values": [5], "unit": "Blob", "allowed": True, "problem": ""
    }  # fmt: skip
    more = {**entities.UNITS, "wattage": [*entities.UNITS["wattage"], "horsepower"]}
    assert parse("5 hp", "wattage", more)["allowed"]


def test_every_unit_of_the_table_is_read_in_the_singular_and_the_plural():
    for entity, units in entities.UNITS.items():
        for unit in units:
            for word in (unit, f"{unit}s"):
                assert parse(f"2 {word}", entity)["unit"] == unit


def test_problems_are_the_rows_that_are_not_allowed():
    table = pa.table(
        {"entity_name": ["wattage", "wattage", "width"], "entity_value": ["5 watt", "1 hp", ""]}
    )
    assert entities.problems(table).values.tolist() == [
        [1, "wattage", "1 hp", "wattage allows kilowatt, watt; not 'horsepower'"],
        [2, "width", "", "empty"],
    ]
    assert len(entities.problems(table.drop(["entity_name"]))) == 0


@pytest.mark.corpus
def test_the_units_are_those_of_the_challenge(corpus):
    assert entities.UNITS == json.loads((corpus / "product/entity_unit_map.json").read_text())


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "rows", "refused"),
    [
        (
            "train",
            1106,
            {
                ("item_volume", "ounce"): 1,
                ("item_weight", "millilitre"): 3,
                ("wattage", "horsepower"): 3,
            },
        ),
        ("train_with_ocr_text", 2639, {("item_volume", "ounce"): 5, ("wattage", "horsepower"): 2}),
    ],
)
def test_every_value_of_the_product_tables_parses(corpus, name, rows, refused):
    with open(corpus / f"product/{name}.csv", newline="", encoding="utf-8") as lines:
        table = pa.Table.from_pylist(list(csv.DictReader(lines)))
    pairs = zip(table["entity_value"].to_pylist(), table["entity_name"].to_pylist(), strict=True)
    assert table.num_rows == rows and all(parse(value, entity)["values"] for value, entity in pairs)
    found = entities.problems(table)
    assert Counter(zip(found["entity"], found["value"].str.split().str[-1], strict=True)) == refused
