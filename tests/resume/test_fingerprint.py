"""Facts about what a result depends on: which edits of a function are seen, and which are not."""

import functools
import importlib
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
from made import folder, table

import imgprep
from imgprep import dataset, hashing
from imgprep.picture import ocr
from imgprep.resume import fingerprint
from imgprep.resume.fingerprint import Unhashable
from imgprep.stages import images


def made(source: str, name: str = "f", **scope):
    """What a notebook cell with this source defines."""
    scope = {"__name__": "__main__", **scope}
    exec(source, scope)
    return scope[name]


def hashed(source: str, **scope) -> str:
    return fingerprint.function(made(source, **scope))


# Functions with a 1; as a 2 in its place gives other pictures, it must give another hash.
EDITED = {
    "code": "def f(x): return x + 1",
    "lambda": "f = lambda x: x + 1",
    "default": "def f(x, k=1): return k",
    "keyword default": "def f(x, *, k=1): return k",
    "partial": "import functools\nf = functools.partial(lambda x, k: x + k, k=1)",
    "global": "K = 1\ndef f(x): return K",
    "global of an inner function": "K = 1\ndef f(x):\n def g(y): return y + K\n return g(x)",
    "global of a comprehension": "K = 1\ndef f(x): return [K for _ in x]",
    "dict": "K = {'a': [1]}\ndef f(x): return K",
    "set": "K = {'a', 'b', '1'}\ndef f(x): return K",
    "bytes": "K = b'1'\ndef f(x): return K",
    "array": "import numpy\nK = numpy.full(3, 1)\ndef f(x): return K",
    "regex": "import re\nK = re.compile('1')\ndef f(x): return K",
    "helper": "def g(x): return 1\ndef f(x): return g(x)",
    "helper's helper": "def h(x): return 1\ndef g(x): return h(x)\ndef f(x): return g(x)",
    "helper's attribute": "def g(x): return g.k\ng.k = 1\ndef f(x): return g(x)",
    "inner function": "def f(x):\n def g(y): return y + 1\n return g(x)",
    "recursion": "def f(x): return f(x - 1) if x else 0",
    "mutual recursion": "def g(x): return f(x) + 1\ndef f(x): return g(x - 3) if x else 0",
    "lru_cache": "import functools\n@functools.lru_cache\ndef g(x): return 1\ndef f(x): return g(x)",
    "decorated": "def d(g):\n def w(x): return g(x)\n return w\n@d\ndef f(x): return 1",
    "decorator": "def d(g):\n def w(x): return g(x) + 1\n return w\n@d\ndef f(x): return 3",
    "method": "class A:\n def __init__(s, k): s.k = k\n def p(s, x): return s.k\nf = A(1).p",
    "method's code": "class A:\n def p(s, x): return 1\nf = A().p",
    "object": "class A:\n def __call__(s, x): return 1\nf = A()",
    "object in a list": "class A:\n def p(s): return 1\nK = [A()]\ndef f(x): return K[0].p()",
    "slots": "class A:\n __slots__ = ('k',)\n def __call__(s, x): return s.k\nf = A()\nf.k = 1",
    "first helper class": "class A:\n k = 1\nclass B:\n k = 3\ndef f(x): return A.k + B.k",
    "second helper class": "class A:\n k = 3\nclass B:\n k = 1\ndef f(x): return A.k + B.k",
    "property": "class f:\n @property\n def k(s): return 1",
    "cached property": "import functools\nclass f:\n @functools.cached_property\n def k(s): return 1",
    "static method": "class f:\n @staticmethod\n def k(): return 1",
    "base class": "class B:\n def p(s): return 1\nclass f(B):\n def q(s): return super().p()",
    "abstract class": "import abc\nclass f(abc.ABC):\n def p(s): return 1",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass f:\n k: int = 1",
    "enum": "import enum\nclass E(enum.Enum):\n A = 1\ndef f(x): return E.A",
    "named tuple": "from typing import NamedTuple\nclass T(NamedTuple):\n a: int = 1\ndef f(x): return T()",
    "vectorized": "import numpy\nf = numpy.vectorize(lambda x: x + 1)",
}


@pytest.mark.parametrize("what", EDITED)
def test_an_edit_that_changes_pictures_is_seen(what):
    old = EDITED[what]
    assert hashed(old) == hashed(old) != hashed(old.replace("1", "2"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def f(x, a): return a", "def f(x, *a): return a"),
        (
            "def f(x):\n try:\n  a(x)\n  b(x)\n except E: c(x)",
            "def f(x):\n a(x)\n try:\n  b(x)\n except E: c(x)",
        ),
        ("a, b = [1], [2]\ndef f(x, p=a, q=b, r=a): 0", "a, b = [1], [2]\ndef f(x, p=a, q=b, r=b): 0"),
    ],
)
def test_functions_of_the_same_instructions_may_differ(old, new):
    assert hashed(old) != hashed(new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def f(x): return x + 1", "\n\n# why\ndef f(x):\n    'What it does.'\n\n    return x + 1  # one more"),
        ("def f(x): return x + 1", "unused = 3\ndef other(): ...\ndef f(x: int) -> int: return x + 1"),
        # A global of that name has nothing to do with the picture's attribute.
        ("def f(x): return x.mean()", "mean = 3\ndef f(x): return x.mean()"),
        ("class f:\n def p(s): return 1", "class f:\n 'A model.'\n def p(s):\n  'Works.'\n  return 1"),
    ],
)
def test_an_edit_that_changes_no_picture_is_not(old, new):
    assert hashed(old) == hashed(new)


def test_hashes_are_the_same_in_every_process():
    sources = [*EDITED.values()]
    sources += ["def f(x): return x in {'p', 'q', 'r'}", "K = {('a', 1), frozenset('xyz')}\ndef f(x): return K"]
    code = f"""
from imgprep.resume import fingerprint
for source in {sources!r}:
    scope = {{"__name__": "__main__"}}
    exec(source, scope)
    print(fingerprint.function(scope["f"]))
"""
    run = functools.partial(subprocess.run, [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    first, second = (run(env={"PATH": "", "PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}) for seed in "12")
    assert first.stdout == second.stdout and len(first.stdout.split()) == len(sources), first.stderr
    assert first.stdout.split() == [hashed(source) for source in sources]


@pytest.fixture
def module(tmp_path, monkeypatch):
    """module(text) writes mine.py, as the user would, and imports it anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str) -> types.ModuleType:
        (tmp_path / "mine.py").write_text(text)
        sys.modules.pop("mine", None)
        importlib.invalidate_caches()
        return importlib.import_module("mine")

    yield write
    sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    "cell",
    [
        "from mine import helper\ndef f(x): return helper(x)",
        "import mine\ndef f(x): return mine.helper(x)",
        "def f(x):\n    import mine\n    return mine.helper(x)",
        "def f(x):\n    from mine import helper\n    return helper(x)",
        "import mine\nf = mine.Tool()",
        "import mine\ntool = mine.Tool()\ndef f(x): return tool(x)",
        "import mine\nf = mine.Tool().__call__",
        "import mine, functools\nf = functools.partial(mine.Tool(), k=1)",
        "import mine, numpy\nf = numpy.vectorize(mine.helper)",
        "import mine\nf = mine.cached",
    ],
)
def test_an_edit_in_the_users_own_module_is_seen(module, cell):
    text = """
import functools
def helper(x): return x + {k}
class Tool:
    def __call__(self, x, k=0): return helper(x)
@functools.lru_cache
def cached(x): return helper(x)
"""
    module(text.format(k=1))
    old = hashed(cell)
    module("'A docstring.'\nother = 3\n" + text.format(k=1))
    assert hashed(cell) == old
    module(text.format(k=2))
    assert hashed(cell) != old


def test_an_operators_version_counts_and_the_packages_does_not(monkeypatch):
    cells = {
        "the operator": ocr.prepare,
        "partial": functools.partial(ocr.prepare, fill=0),
        "by name": made("def f(x): return prepare(x)", prepare=ocr.prepare),
        "by module": made("def f(x): return ocr.prepare(x)", ocr=ocr),
        "inside": made("def f(x):\n    from imgprep import ocr\n    return ocr.prepare(x)"),
    }
    old = {what: fingerprint.function(fn) for what, fn in cells.items()}
    monkeypatch.setattr(imgprep, "__version__", "99")
    assert {what: fingerprint.function(fn) for what, fn in cells.items()} == old
    monkeypatch.setattr(ocr.prepare, "version", 99)
    assert [what for what, fn in cells.items() if fingerprint.function(fn) == old[what]] == []


def test_a_function_without_a_module_is_still_the_users():
    old, new = {}, {}
    exec("def f(x): return x + 1", old)
    exec("def f(x): return x + 2", new)
    assert fingerprint.function(old["f"]) != fingerprint.function(new["f"])


def test_a_users_module_may_be_named_like_one_of_pythons(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    hashes = []
    for k in (1, 2):
        (tmp_path / "code.py").write_text(f"def f(x): return x + {k}")
        monkeypatch.delitem(sys.modules, "code", raising=False)
        importlib.invalidate_caches()
        hashes.append(fingerprint.function(importlib.import_module("code").f))
    monkeypatch.delitem(sys.modules, "code")
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize("what", ["open(__file__)", "(i for i in [1])", "sys._getframe()", "memoryview(b'')"])
def test_what_cannot_be_hashed_is_named_and_nothing_is_reused(tmp_path, capsys, what):
    held = eval(what)

    def f(image):
        return image if held else image

    with pytest.raises(Unhashable, match=f"{type(held).__name__} cannot be hashed"):
        fingerprint.function(f)
    paths = folder(tmp_path / "in", 3)
    with imgprep.session("local", workers=0):
        for _ in range(2):
            images.transform({"train": table(paths)}, str(tmp_path / "out"), f)
    assert [r["computed"] for r in dataset.open(str(tmp_path / "out")).runs()] == [3, 3]
    said = f"f uses something that {type(held).__name__} cannot be hashed"
    assert said in capsys.readouterr().out


def test_a_lock_does_not_count():
    source = "L = lock()\ndef f(x):\n    with L: return x"
    assert hashed(source, lock=threading.Lock) == hashed(source, lock=threading.Lock)


def test_a_function_defined_twice_in_a_notebook_is_the_same_function():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        hashes = []
        for cell in ("K = 2\ndef f(x):\n    return x // K", "# again\nK = 2\ndef f(x): return x // K", "K = 3"):
            shell.run_cell(cell, store_history=True)
            hashes.append(fingerprint.function(shell.user_ns["f"]))
    finally:
        InteractiveShell.clear_instance()
    assert hashes[0] == hashes[1] != hashes[2]


def test_large_values_take_no_time():
    fn = made("def f(x): return K", K=np.zeros((2000, 2000)), L={i: str(i) for i in range(1000)})
    assert fingerprint.function(fn) == fingerprint.function(fn)


@pytest.mark.parametrize("value", [{1, 2}, object(), np.float32(1), b"x"])
def test_an_option_is_a_plain_value(value):
    with pytest.raises(ValueError, match="is no plain value"):
        hashing.digest({"option": value})


def test_a_dict_of_mixed_names_is_refused_with_a_sentence():
    with pytest.raises(ValueError, match="must be text"):
        hashing.digest({1: "a", "b": 2})


def test_options_that_differ_have_different_digests():
    values = [1, 1.0, True, "1", None, [1], {"a": 1}, {"a": "1"}, "\ud800"]
    assert len({hashing.digest(v) for v in values}) == len(values)
