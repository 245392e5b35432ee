"""Sentences go through logging: seen as printed, and silenced by whoever uses this as a library."""

import logging
import subprocess
import sys
from pathlib import Path

from imgprep import words
from imgprep.words import say


def test_a_sentence_is_printed_as_it_is(capsys):
    say("100 % of {rows} are done, %s")
    assert capsys.readouterr() == ("100 % of {rows} are done, %s\n", "")


def test_a_library_user_silences_it_by_the_logger(capsys):
    logger = logging.getLogger("imgprep")
    before = logger.level
    logger.setLevel(logging.WARNING)
    say("nobody hears this")
    logger.setLevel(before)
    say("and this is heard")
    assert capsys.readouterr().out == "and this is heard\n"


def test_a_program_with_its_own_logging_hears_it_once_and_keeps_its_level():
    code = (
        "import logging; logging.basicConfig(level='DEBUG', format='root %(message)s')\n"
        "from imgprep.words import say; say('once')\n"
        "logging.getLogger('imgprep').setLevel('ERROR'); say('never')\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("once\n", "")


def test_an_extra_is_named_by_a_command_that_works_from_here(monkeypatch, tmp_path):
    monkeypatch.chdir(Path(words.__file__).parents[1])
    assert words.extra("tiles").endswith('python -m pip install -e ".[tiles]"')
    assert words.extra_packages("tiles") == "rasterio shapely"
    monkeypatch.setattr(words, "__file__", str(tmp_path / "imgprep" / "words.py"))
    needed = ["numpy>=2", "rasterio>=1.4; extra == 'tiles'", "shapely>=2.1 ; extra == \"tiles\"", "x; extra == 'test'"]
    monkeypatch.setattr(words.metadata, "requires", lambda name: needed)
    assert words.extra("tiles") == "pip install rasterio shapely"
