"""Measures the house and holds it to .ci/house.toml: `python .ci/house.py`; `--all` prints every folder and file.

Density is AST nodes per line of code, without docstrings, comments and blank lines: packed lines need paper beside
them. Lines over 100 characters, comments, lengths and names that mean several things are measured with it.
"""

import ast
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "imgprep"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def docstring_lines(tree: ast.AST) -> set[int]:
    """Line numbers of all docstrings."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, DOCUMENTED) or not node.body:
            continue
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            found.update(range(first.lineno, first.end_lineno + 1))
    return found


class File:
    """What is measured of one file."""

    def __init__(self, path: Path):
        self.path = path
        source = path.read_text("utf-8")
        tree = ast.parse(source)
        lines = source.splitlines()
        text = docstring_lines(tree)
        written = [(n, line.strip()) for n, line in enumerate(lines, 1) if line.strip()]
        self.lines = len(lines)
        self.long = sum(len(line) > 100 for line in lines)
        self.comments = sum(line.startswith("#") for _, line in written)
        self.written = len(written) - self.comments
        self.code = sum(not line.startswith("#") for n, line in written if n not in text)
        words = sum(isinstance(node, ast.Expr) and node.lineno in text for node in ast.walk(tree))
        self.nodes = sum(1 for _ in ast.walk(tree)) - 2 * words
        self.functions = self._longest(tree, FUNCTIONS)
        self.classes = self._longest(tree, (ast.ClassDef,))
        self.names = {n.name for n in tree.body if isinstance(n, (*FUNCTIONS, ast.ClassDef))}
        targets = [t for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
        targets += [n.target for n in tree.body if isinstance(n, ast.AnnAssign)]
        self.names |= {t.id for t in targets if isinstance(t, ast.Name)}

    @staticmethod
    def _longest(tree: ast.AST, kinds: tuple) -> tuple[int, str]:
        """Lines and name of the longest body of these kinds, docstrings left out."""
        found = [(0, "")]
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lines = node.end_lineno - body[0].lineno + 1 if body else 0
                found.append((lines, node.name))
        return max(found)


def folder_of(file: File) -> str:
    return file.path.relative_to(PACKAGE).parent.as_posix()


def measured(files: list[File]) -> dict[str, float]:
    """The figures of some files as one."""
    code = max(1, sum(f.code for f in files))
    written = max(1, sum(f.written for f in files))
    return {
        "nodes_per_line": round(sum(f.nodes for f in files) / code, 2),
        "long_lines_percent": round(100 * sum(f.long for f in files) / written, 2),
        "comments_percent": round(100 * sum(f.comments for f in files) / written, 2),
        "longest_file": max(f.lines for f in files),
        "longest_function": max(f.functions[0] for f in files),
        "longest_class": max(f.classes[0] for f in files),
    }


def shared_names(files: list[File]) -> dict[str, list[str]]:
    """Top-level names that more than one module has, and where."""
    where = defaultdict(list)
    for file in files:
        for name in file.names:
            if not name.startswith("__"):
                where[name].append(file.path.relative_to(PACKAGE).as_posix())
    return {name: places for name, places in sorted(where.items()) if len(places) > 1}


def promised() -> int:
    """How many names `__init__.pyi` promises."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text("utf-8"))
    names = Counter(alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names)
    return len(names)


def main() -> int:
    files = [File(path) for path in sorted(PACKAGE.rglob("*.py"))]
    folders = defaultdict(list)
    for file in files:
        folders[folder_of(file)].append(file)
    by_folder = {name: measured(some) for name, some in sorted(folders.items())}
    worst = max(by_folder, key=lambda name: by_folder[name]["nodes_per_line"])
    figures = measured(files)
    figures["nodes_per_line_worst_folder"] = by_folder[worst]["nodes_per_line"]
    figures["shared_names"] = len(shared_names(files))
    figures["promised_names"] = promised()
    if "--all" in sys.argv:
        for name, some in by_folder.items():
            print(f"{name or '.':24} {sum(f.code for f in folders[name]):6} lines of code", some)
        for file in sorted(files, key=lambda f: -f.nodes / max(1, f.code)):
            density = file.nodes / max(1, file.code)
            longest = f"function {file.functions[0]} {file.functions[1]}, class {file.classes[0]} {file.classes[1]}"
            print(f"{file.path.relative_to(ROOT)}: {file.lines} lines, {density:.1f} nodes/line, {longest}")
        for name, places in shared_names(files).items():
            print(f"{name}: {', '.join(places)}")
    limits = tomllib.loads((ROOT / ".ci" / "house.toml").read_text("utf-8"))
    broken = [name for name, most in limits["most"].items() if figures[name] > most]
    broken += [name for name, least in limits["least"].items() if figures[name] < least]
    for name, value in figures.items():
        bound = f"at most {limits['most'][name]}" if name in limits["most"] else f"at least {limits['least'].get(name)}"
        mark = "BROKEN" if name in broken else "ok"
        print(f"{mark:6} {name:28} {value:8} ({bound})" + (f": {worst}" if name.endswith("worst_folder") else ""))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
