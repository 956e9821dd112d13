"""Write the table in docs/smart.md: what is asked of a SMART server, row by row, which tests show it, and how they ended.

    pytest --junit-xml=results.xml …; python scripts/document_smart.py results.xml

A test shows the rows that its docstring begins with (`[C1, C4] …`); the rows are those of tests/data/smart-rows.csv. With `--check` nothing
is written: exit code 1 where a row has no test, a test names a row that there is not, or the table names other tests than there are.
"""

import ast
import csv
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree  # what pytest has just written itself

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "smart.md"
ROWS = ROOT / "tests" / "data" / "smart-rows.csv"
BEGIN, END = "<!-- table: scripts/document_smart.py -->", "<!-- end of table -->"
_NAMED = re.compile(r"\[([A-K]\d+(?:, ?[A-K]\d+)*)\]")


def rows() -> dict[str, str]:
    """Row -> what is asked, in order."""
    with ROWS.open(encoding="utf-8", newline="") as file:
        return {row["row"]: row["what"] for row in csv.DictReader(file)}


def tests() -> dict[str, list[str]]:
    """Row -> the tests that show it, as `file::function`."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if "node_modules" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                named = _NAMED.match(ast.get_docstring(node) or "")
                for row in re.split(", ?", named[1]) if named else ():
                    found[row].append(f"{path.relative_to(ROOT).as_posix()}::{node.name}")
    return found


def outcomes(results: Iterable[Path]) -> dict[str, str]:
    """`file::function` -> passed, skipped or failed, of all its cases the worst."""
    worst: dict[str, str] = {}
    order = ("passed", "skipped", "failed")
    for case in (case for each in results for case in ElementTree.parse(each).iter("testcase")):
        file = case.get("classname", "").replace(".", "/") + ".py"
        name = f"{file}::{case.get('name', '').partition('[')[0]}"
        children = {child.tag for child in case}
        result = "failed" if children & {"failure", "error"} else "skipped" if "skipped" in children else "passed"
        worst[name] = max(worst.get(name, "passed"), result, key=order.index)
    return worst


def table(results: dict[str, str]) -> str:
    """The table, with the outcome of each row."""
    shown = tests()
    lines = ["| row | what is asked | result | shown by |", "| --- | --- | --- | --- |"]
    for row, what in rows().items():
        names = shown.get(row, [])
        found = [results.get(name, "not run") for name in names]
        worst = next((word for word in ("failed", "not run", "skipped") if word in found), "passed") if found else "no test"
        lines.append(f"| {row} | {what} | {worst} | {'<br>'.join(_short(name) for name in names)} |")
    return "\n".join(lines)


def _short(name: str) -> str:
    file, _, test = name.partition("::")
    return f"`{Path(file).name}::{test}`"


def problems() -> list[str]:
    """What does not agree: rows, tests and table."""
    known, shown = rows(), tests()
    found = [f"row {row} has no test" for row in known if row not in shown]
    found += [f"{names[0]} names row {row}, which there is not" for row, names in shown.items() if row not in known]
    strip = re.compile(r"^(\| [A-K]\d+ \|.*\|) [a-z ]+ (\|[^|]*\|)$", re.MULTILINE)
    there, made = strip.sub(r"\1\2", _between(PAGE.read_text(encoding="utf-8"))), strip.sub(r"\1\2", table({}))
    if there.strip() != made.strip():
        found.append("the table in docs/smart.md is out of date: make smart-table")
    return found


def _between(text: str) -> str:
    return text.partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    if "--check" in sys.argv:
        sys.exit("\n".join(problems()) or None)
    text = PAGE.read_text(encoding="utf-8")
    made = f"{BEGIN}\n\n{table(outcomes(map(Path, sys.argv[1:])))}\n\n{END}"
    PAGE.write_text(text.replace(f"{BEGIN}{_between(text)}{END}", made), encoding="utf-8")


if __name__ == "__main__":
    main()
