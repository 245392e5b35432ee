"""The card: what is ours follows the data, what a person wrote stays."""

from pathlib import Path

import pytest
import yaml
from made import folder, table

from imgprep.dataset import card
from imgprep.stages import images


def made(tmp_path: Path, n: int) -> str:
    out = str(tmp_path / "out")
    images.transform({"train": table(folder(tmp_path / "in", n))}, out, lambda image: image)
    return out


def test_what_a_person_writes_into_the_card_stays_and_the_rest_follows_the_data(tmp_path):
    readme = Path(made(tmp_path, 2), "README.md")
    text = readme.read_text().replace(card.TITLE, "# Cats\n\nMy cats.").replace("---\n", "---\nlicense: mit\n", 1)
    readme.write_text(text + "\nWrite to me.\n")
    made(tmp_path, 3)
    after = readme.read_text()
    assert card.own_text(after) == ("# Cats\n\nMy cats.", "Write to me.")
    keys = card.own_keys(after)
    assert keys["license"] == "mit" and keys["dataset_info"][0]["splits"][0]["num_examples"] == 3
    assert "| train | 3 | 3 |" in after and after.count(card.BEGIN) == 1
    made(tmp_path, 3)
    assert readme.read_text() == after


def test_a_head_that_cannot_be_read_is_told_before_any_work(tmp_path):
    readme = Path(made(tmp_path, 2), "README.md")
    readme.write_text("---\na: [\n---\n" + readme.read_text())
    with pytest.raises(ValueError, match="YAML at the head of README.md"):
        made(tmp_path, 3)


@pytest.mark.parametrize(
    "saved",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("---\n", "--- \n", 1).encode(),
    ],
    ids=["CRLF", "mark of byte order", "space behind the mark"],
)
def test_what_editors_add_to_the_head_takes_no_words_away(tmp_path, saved):
    readme = Path(made(tmp_path, 2), "README.md")
    text = readme.read_text().replace(card.TITLE, "# Cats\n\nMy cats.").replace("---\n", "---\nlicense: mit\n", 1)
    readme.write_bytes(saved(text))
    made(tmp_path, 3)
    after = readme.read_text("utf-8")
    assert card.own_text(after) == ("# Cats\n\nMy cats.", "") and after.count("license: mit") == 1
    assert card.own_keys(after)["license"] == "mit" and after.startswith("---\n")


def test_no_is_norwegian_and_only_true_and_false_are_booleans(tmp_path):
    readme = Path(made(tmp_path, 2), "README.md")
    readme.write_text(readme.read_text().replace("---\n", "---\nlanguage: [no, yes, on]\ngated: false\n", 1))
    made(tmp_path, 3)
    keys = card.own_keys(readme.read_text())
    assert keys["language"] == ["no", "yes", "on"] and keys["gated"] is False
    assert yaml.safe_load(readme.read_text().split("---\n")[1])["language"] == ["no", "yes", "on"]


@pytest.mark.parametrize("text", ["# Mine\n", "---\nlicense: mit\n---\n# Mine\n"])
def test_anothers_card_is_all_its_own(text):
    assert not card.is_ours(text) and card.own_text(text) == ("# Mine", "")


def test_a_card_without_our_marks_is_kept_whole(tmp_path):
    readme = Path(made(tmp_path, 2), "README.md")
    readme.write_text(readme.read_text().replace(card.BEGIN, "Mine.").replace(card.END, ""))
    made(tmp_path, 3)
    assert "Mine." in card.own_text(readme.read_text())[0] and readme.read_text().count(card.BEGIN) == 1


def test_a_key_of_the_head_stays_valid_yaml():
    info = {"splits": [], "stage": "x", "options": {}, "complete": True}
    text = card.write(info, [], {}, keys={"pretty_name": "a: b"})
    assert yaml.safe_load(text.split("---\n")[1]) == {"pretty_name": "a: b"}


def test_the_latest_words_win_and_two_edits_are_not_mixed():
    def said(text: str) -> str:
        return f"---\nlicense: mit\n---\n\n{text}\n\n{card.BEGIN}\nours\n{card.END}\n"

    new = said("").replace("license: mit\n", "")
    assert card.latest(new, "", "") == new
    assert card.latest(said("a"), said("a"), "") == said("a")
    assert card.latest(new, said("hub"), "") == card.latest(new, said("hub"), said("hub")) == said("hub")
    assert card.latest(said("a"), said("hub"), said("a")) == said("hub")
    assert card.latest(said("b"), said("a"), said("a")) == said("b")
    with pytest.raises(ValueError, match="were both edited"):
        card.latest(said("b"), said("hub"), said("a"))
    adopted = card.adopt(new.replace("ours", "the folder's"), said("# Hub"))
    assert card.own_text(adopted) == ("# Hub", "") and "the folder's" in adopted and "license: mit" in adopted
