import re

from imgprep.dataset import names


def test_file_names_are_safe_and_differ_everywhere():
    ids = ["ok-1", "A", "a", "../../etc/passwd", "é/ü", ".x", "x" * 300, "a\0b"]
    stems = names.stems(ids)
    assert stems[0] == "ok-1"
    assert len({stem.lower() for stem in stems}) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,99}", stem) for stem in stems)
    assert names.stems(ids[1:3]) == stems[1:3]
