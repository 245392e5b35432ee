"""Writes imgprep/resume/pins.json anew: which code the version of each of our operators stands for.

Run it when an operator was rewritten and gives the same pixels as before. Where they differ, raise `version` first.
"""

import json

from imgprep.resume import pins


def main() -> None:
    table = pins.pinned()
    for name, entry in table.items():
        operator = pins.operator_named(name)
        version = getattr(operator, "version", None) or entry["version"]
        table[name] = {"version": version, "code": pins.code_of(operator)}
    lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(table.items())]
    pins.PINS.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
