"""Are these notebooks as git keeps them, without outputs? `python .ci/notebooks.py FILE…`; without a name, all."""

import json
import sys
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def has_traces(path: Path) -> bool:
    """Does the notebook hold outputs, counts of executions, or a cell that papermill put in?"""
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if "injected-parameters" in cell["metadata"].get("tags", []):
            return True
        if cell["cell_type"] == "code" and (cell["outputs"] or cell["execution_count"] is not None):
            return True
    return False


def main() -> int:
    files = [Path(name) for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb"))
    found = [file for file in files if has_traces(file)]
    for file in found:
        print(f"{file.name} holds outputs: clear them (in JupyterLab: Edit > Clear Outputs of All Cells)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
