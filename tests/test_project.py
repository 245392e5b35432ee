"""Relative paths start at the project, wherever in it a notebook runs."""

from pathlib import Path

import pytest

from imgprep.project import project_root, resolve


@pytest.mark.parametrize("mark", ["environment.yml", "pyproject.toml"])
def test_the_root_is_the_nearest_folder_that_names_imgprep(tmp_path, monkeypatch, mark):
    (tmp_path / mark).write_text('name = "imgprep"\n')
    below = tmp_path / "other" / "notebooks"
    below.mkdir(parents=True)
    (tmp_path / "other" / mark).write_text('name = "something-else"\n')
    monkeypatch.chdir(below)
    assert project_root() == tmp_path
    assert resolve("data/train.csv") == str(tmp_path / "data" / "train.csv")


def test_without_a_project_the_root_is_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert project_root() == Path.cwd()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")  # where JupyterLab runs what `imgprep lab` has put there
    assert project_root() == tmp_path


@pytest.mark.parametrize("path", ["s3://bucket/a.csv", "hf://datasets/a", "memory://a", "/somewhere/a.csv"])
def test_uris_and_absolute_paths_stay_as_they_are(path):
    assert resolve(path) == path
