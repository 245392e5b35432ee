"""What a session reads from the environment, once; and what a summary and a fault are."""

import pickle

import pytest

import imgprep
from imgprep import engine
from imgprep.dataset.files import Folder
from imgprep.engine import Job, Session, Summary, Task, worker
from imgprep.engine.progress import Progress
from imgprep.failures import RunStopped
from imgprep.resume.inputs import Wanted
from imgprep.resume.load import Urls
from imgprep.words import LOG


@pytest.fixture(autouse=True)
def fresh():
    """Nobody's session before, none left behind."""
    imgprep.close()
    yield
    imgprep.close()


def test_the_environment_is_read_when_a_session_opens_and_not_again(monkeypatch):
    monkeypatch.setenv("IMGPREP_DRY_RUN", "1")
    monkeypatch.setenv("IMGPREP_PLAN", "plans")
    one = imgprep.session("local", 0)
    monkeypatch.delenv("IMGPREP_DRY_RUN")
    assert engine.current() is one and one.dry_run and one.plan_file == "plans"
    imgprep.close()
    assert not engine.current().dry_run


@pytest.mark.parametrize("workers", [-1, 1.5, "2", True])
def test_workers_is_a_number_of_processes(workers):
    with pytest.raises(ValueError, match="workers is a number of processes"):
        Session("local", workers)


def test_two_summaries_add_up_to_one():
    one = Summary(3, 10, 4, 0, {"timeout": 1}, {"timeout": ["late"]}, ["a"], 0.5)
    two = Summary(2, 5, 2, 1, {"timeout": 1, "dns": 1}, {"timeout": ["later"]}, ["b"], 1.0)
    assert one + two == Summary(
        5, 15, 6, 1, {"timeout": 2, "dns": 1}, {"timeout": ["late", "later"]}, ["a", "b"], 1.5
    )
    assert one + Summary() == one == Summary() + one


class Odd(ValueError):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def raises(make):
    def fn(task):
        raise make()

    return fn


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda: RunStopped("no answer from the store"), RunStopped, "no answer from the store"),
        (lambda: Odd("wrong", "option"), ValueError, "wrong option"),
        (lambda: OSError(28, "no space"), RuntimeError, "no space left on the disk"),
        (lambda: KeyError("x"), RuntimeError, r"KeyError: 'x' \(test_session.py:\d+\)"),
    ],
)
def test_a_fault_of_a_task_is_raised_here(tmp_path, workers, make, kind, says):
    imgprep.session("local", workers)
    job = Job(raises(make), lambda t: [t], raises(make), Folder(str(tmp_path)), "r")
    with pytest.raises(kind, match=says) as caught:
        list(engine.run([Task("a", 1)], job))
    assert type(caught.value) is kind and pickle.loads(pickle.dumps(caught.value)).args


def test_who_silences_the_logger_sees_no_progress_either(monkeypatch, capsys):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr(LOG, "level", 30)
    LOG.manager._clear_cache()
    Progress("ocr", 3).close()
    monkeypatch.undo()
    LOG.manager._clear_cache()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("workers", "most", "at_once"), [(2, None, 2), (2, 8, 2), (24, 8, 8)])
def test_more_workers_than_a_host_bears_do_not_ask_it(tmp_path, workers, most, at_once):
    """Each worker asks a host once at least: so no more work than may ask at once."""
    imgprep.session("local", workers)
    job = Job(len, len, len, Folder(str(tmp_path)), "r", most=most)
    assert worker.Orders.of(job).at_once == at_once


@pytest.mark.parametrize(
    ("sources", "most"),
    [(["/a.jpg", "s3://b/a.jpg"], None), (["/a.jpg", "https://example.org/a.jpg"], 5), ([None], None)],
)
def test_only_what_is_asked_of_web_hosts_has_a_limit(sources, most):
    wanted = [Wanted(b"k", source, {}) for source in sources]
    assert Urls.of({"per_host": 5}).most_at_once(wanted) == most
