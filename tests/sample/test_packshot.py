"""Products are drawn from seeds alone, and show the label that was asked for."""

from pathlib import Path

import numpy as np
import pytest

from imgprep.rows import entities
from imgprep.sample import packshot


def test_the_same_seed_gives_the_same_pixels_and_another_seed_another_picture():
    product = packshot.PRODUCTS[0]
    entity, value = packshot.labels(product)[0]
    one, same, other = (packshot.draw(product, entity, value, seed=seed) for seed in ("1", "1", "2"))
    assert one.dtype == np.uint8 and np.array_equal(one, same)
    assert one.shape != other.shape or not np.array_equal(one, other)


@pytest.mark.parametrize("product", packshot.PRODUCTS, ids=lambda product: product.name)
def test_two_labels_of_a_product_differ_in_the_label_alone(product):
    """Same seed, same entity, another value: most of the picture, and all of its outermost pixels, stay as they are."""
    (entity, value), *_ = packshot.labels(product)
    one, other = (packshot.draw(product, entity, text, seed="3") for text in (value, "4321 " + value))
    changed = (one != other).any(axis=2)
    assert 0.002 < changed.mean() < 0.25
    assert not changed[[0, -1]].any() and not changed[:, [0, -1]].any()


def test_sides_are_300_to_900_pixels():
    product = packshot.PRODUCTS[0]
    sides = [max(packshot.draw(product, *packshot.labels(product)[0], seed=str(n)).shape) for n in range(30)]
    assert min(sides) >= 299 and max(sides) <= 900 and len(set(sides)) > 20


def test_every_photograph_is_in_the_list_of_licences():
    readme = (Path(__file__).parents[2] / "data" / "README.md").read_text("utf-8")
    assert {p.photo for p in packshot.PRODUCTS} == {part.split("`")[0] for part in readme.split("\n| `")[1:]
                                                    if part.split("`")[0].endswith(("png", "jpg"))}  # fmt: skip


def test_the_units_on_labels_are_allowed_for_their_entities():
    for product in packshot.PRODUCTS:
        assert all(entities.parse(value, entity)["allowed"] for entity, value in packshot.labels(product))
