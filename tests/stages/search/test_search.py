"""An index finds by tags, by words, by likeness and by meaning; what means nothing finds nothing."""

import numpy as np
import pytest

from imgprep import search, tags
from imgprep.models import demo
from imgprep.picture import codec


class Colours:
    """An embedder whose vectors are mean colours, and which knows three words."""

    once, version, kind, name, model_version, has_words = True, 1, "colours", "colours", "1", True
    KNOWN = {"red": (1, 0, 0, 0), "green": (0, 1, 0, 0), "blue": (0, 0, 1, 0)}

    def __call__(self, image):
        mean = np.append(image.reshape(-1, 3).mean(0) / 150, 0.5).astype(np.float32)
        return mean / (np.linalg.norm(mean) + 1e-9)

    def text(self, words):
        one = isinstance(words, str)
        rows = [self.KNOWN.get(w, (0, 0, 0, 1)) for w in ([words] if one else words)]
        found = np.array(rows, np.float32)
        return found[0] if one else found


def main_colour(image):
    mean = image.reshape(-1, 3).mean(0)
    name = ("rosy", "grassy", "azure")[int(mean.argmax())]
    return [{"kind": "colour", "name": name, "score": float(mean.max() / 255)}]


@pytest.fixture
def tagged(tmp_path):
    where = tmp_path / "pictures"
    where.mkdir()
    lines = ["path,caption"]
    for n in range(12):
        colour = np.full(3, 20)
        colour[n % 3] = 120 + 10 * n
        image = np.full((30, 40, 3), colour, np.uint8)
        (where / f"p{n:02d}.png").write_bytes(codec.encode(image, "PNG"))
        lines.append(f"{where}/p{n:02d}.png,picture number {'one two three four'.split()[n % 4]}")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines))
    from imgprep import sources

    found = sources.read({"train": str(table)}, url_column="path")
    return tags.find(found, str(tmp_path / "tagged"), taggers=[main_colour], embedder=Colours())


def ids_with(ds, name):
    table = ds.table("train", ["image_id", "tags"]).to_pylist()
    return {row["image_id"] for row in table if any(e["name"] == name for e in row["tags"])}


def test_tags_and_pictures_in_both_directions(tagged):
    index = search.build(tagged)
    assert len(index) == 12
    found = index.search(tags=["azure"])
    assert set(found.ids) == ids_with(tagged, "azure")
    scores = [index.tags(one)[0]["score"] for one in found.ids]
    assert scores == sorted(scores, reverse=True)
    assert index.facets()[0][2] == 4
    assert not index.search(tags=["azure", "rosy"]).hits
    assert len(index.search(without=["azure"])) == 8


def test_words_of_captions_and_of_tags_are_found(tagged):
    index = search.build(tagged)
    assert len(index.search("three", embedder=Colours())) == 3
    assert set(index.search("Azure", embedder=Colours()).ids) == ids_with(tagged, "azure")


def test_meaning_finds_what_no_word_says(tagged):
    found = search.build(tagged).search("red", embedder=Colours())
    assert set(found.ids) == ids_with(tagged, "rosy")
    assert all(hit.words is None and hit.likeness > 0.6 for hit in found)


def test_words_and_meaning_are_fused(tagged):
    """A caption says "four"; only the vectors know "red": a filter goes with both."""
    index = search.build(tagged)
    assert set(index.search("green", tags=["grassy"], embedder=Colours()).ids) == ids_with(tagged, "grassy")
    assert not index.search("green", tags=["azure"], embedder=Colours()).hits
    hit = index.search("four", tags=["grassy"], embedder=Colours()).hits[0]
    assert hit.words == 0
    assert hit.likeness is None


def test_nonsense_finds_nothing_and_offers_what_there_is(tagged):
    found = search.build(tagged).search("zxqv", embedder=Colours())
    assert not found.hits
    assert found.near_tags
    assert "nothing here is like 'zxqv'" in repr(found)


def test_what_looks_alike_comes_first_and_never_itself(tagged):
    index = search.build(tagged)
    one = index.search(tags=["rosy"]).ids[0]
    found = index.search(like=one, n=3)
    assert one not in found.ids
    assert set(found.ids) <= ids_with(tagged, "rosy")
    by_picture = index.search(picture=np.full((9, 9, 3), (250, 20, 20), np.uint8), n=4, embedder=Colours())
    assert set(by_picture.ids) == ids_with(tagged, "rosy")


def test_vectors_of_another_model_are_refused(tagged):
    other = Colours()
    other.model_version = "2"
    with pytest.raises(ValueError, match="cannot be compared"):
        search.build(tagged).search("red", embedder=other)


def test_opening_again_makes_nothing_and_a_changed_dataset_makes_it_anew(tagged, tmp_path):
    first = search.open(tagged)
    made = (first.folder / "index.sqlite").stat().st_mtime_ns
    assert (search.open(tagged).folder / "index.sqlite").stat().st_mtime_ns == made
    some = first.search(tags=["azure"]).ids[0]
    said = [{"image_id": some, "kind": "colour", "name": "azure", "accepted": False}]
    corrected = tags.apply(tagged, said, tagged.folder + "-corrected")
    index = search.open(corrected)
    assert some not in index.search(tags=["azure"]).ids
    assert some not in index.search("azure", embedder=Colours()).ids


def test_added_pictures_are_found_and_deleted_ones_are_not(tagged):
    index = search.build(tagged)
    said = {"source": "t", "version": "1", "evidence": "", "accepted": None}
    entry = {"kind": "colour", "name": "gold", "score": 1.0} | said
    known = {"tags": [entry], "embedding": [0.6, 0.6, 0.0, 0.5], "text": "a golden thing"}
    new = [{"image_id": f"new{n}"} | known for n in range(5)]
    index.add(new)
    assert len(index) == 17
    assert set(index.search(tags=["gold"]).ids) == {one["image_id"] for one in new}
    assert set(index.search("golden", embedder=Colours()).ids) == {one["image_id"] for one in new}
    assert set(index.search(like="new0", n=4).ids) == {f"new{n}" for n in range(1, 5)}
    assert index.delete(["new1", "new2", "nobody"]) == 2
    for again in (index, search.open(tagged)):
        assert len(again) == 15
        assert set(again.search(tags=["gold"]).ids) == {"new0", "new3", "new4"}
        assert not {"new1", "new2"} & set(again.search(like="new0", n=12).ids)
    with pytest.raises(ValueError, match="in the index already"):
        index.add(new[:1])
    assert len(index) == 15


def test_a_build_that_was_killed_is_never_opened(tagged):
    left = search.build(tagged).folder.with_name("search-1-dead")
    left.mkdir()
    (left / "index.sqlite").write_bytes(b"half")
    assert len(search.open(tagged)) == 12
    place = search.open(tagged).folder / "index.sqlite"
    place.write_bytes(b"not a database")
    assert len(search.open(tagged)) == 12


def test_one_question_at_a_time(tagged):
    index = search.open(tagged)
    with pytest.raises(ValueError, match="one at a time"):
        index.search("red", like="x")
    with pytest.raises(ValueError, match="no picture 'x'"):
        index.search(like="x")
    with pytest.raises(ValueError, match="number of pictures"):
        index.search(n=0)


def test_a_dataset_without_tags_or_vectors_is_searched_by_its_words(tmp_path):
    where = tmp_path / "p"
    where.mkdir()
    (where / "one.png").write_bytes(codec.encode(np.zeros((8, 8, 3), np.uint8), "PNG"))
    ds = tags.find(str(where), str(tmp_path / "out"), taggers=["tone"])
    index = search.build(ds)
    assert index.search("low key").ids
    assert "nothing here" in index.search("zxqv").note
    with pytest.raises(ValueError, match="no vectors"):
        index.search(like=index.search("key").ids[0])


TRUTH = {  # words -> a part of the names of pictures that show it
    "pet animal": ("Minolta DiMAGE EX", "Kodak DC240"),
    "a dog": ("Kodak DC240", "Reconyx"),
    "flowers": ("blue-periwinkle", "Ricoh", "Seiko"),
    "mountains": ("Olympus C960", "13.png", "HP PhotoSmart", "Sony DCR-PC110"),
    "red car": ("Minolta DiMAGE X",),
    "boat": ("Olympus _ Digital",),
    "musical instrument": ("Issue 154",),
    "fruit": ("FujiFilm FinePix1400Zoom",),
    "insect": ("blue-periwinkle", "Kodak DX4330"),
    "cat": ("Minolta DiMAGE EX",),
}


@pytest.mark.corpus
@pytest.mark.slow
@pytest.mark.skipif(not demo.is_installed(), reason="needs the extra `offline`")
def test_ten_queries_over_real_photographs_with_the_offline_models(corpus, tmp_path):
    photos = str(corpus / "photos")
    ds = tags.find(photos, str(tmp_path / "tagged"), taggers=["offline"], embedder="offline", max_failed=1.0)
    index = search.build(ds)
    table = ds.table("train", ["image_id", "source"]).to_pylist()
    names = {row["image_id"]: row["source"] for row in table}
    right = 0
    for text, wanted in TRUTH.items():
        top = [names[i] for i in index.search(text, n=3).ids]
        right += any(part in name for part in wanted for name in top)
    assert right >= 8
    for nonsense in ("zxqv", "asdfgh", "qwrtp zzx"):
        assert not index.search(nonsense).hits
