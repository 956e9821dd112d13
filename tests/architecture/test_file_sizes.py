"""No file and no folder grows past what one person can keep in mind."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from architecture.tree import files

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("fhir_server", "search", "smart_auth", "conformance", "resources")
LINES, TEST_LINES, MODULES, FUNCTION = 500, 600, 15, 50


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in files(ROOT / folder, ".py")]


@pytest.mark.parametrize("folder, limit", [*((p, LINES) for p in (*PACKAGES, "scripts", "benchmarks")), ("tests", TEST_LINES)])
def test_files_stay_short(folder: str, limit: int) -> None:
    """A hand-written file has at most 500 lines, a test file 600."""
    sizes = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(folder)}
    assert {name: size for name, size in sizes.items() if size > limit} == {}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """The functions of a file, and how many lines each does its work in: its parameters and its docstring do not count."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            begin = node.body[min(1, len(node.body) - 1) if ast.get_docstring(node) is not None else 0].lineno
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", (node.end_lineno or 0) - begin + 1


def test_functions_stay_short() -> None:
    """A function does its work in at most 50 lines."""
    sizes = [found for path in sources(*PACKAGES) for found in functions(path)]
    assert len(sizes) > 3_000 and [found for found in sizes if found[1] > FUNCTION] == []


def test_folders_stay_small() -> None:
    """A folder of a package has at most 15 modules; `__init__.py` does not count."""
    modules = Counter(str(path.parent.relative_to(ROOT)) for path in sources(*PACKAGES) if not path.name.startswith("__"))
    assert {folder: count for folder, count in modules.items() if count > MODULES} == {}


def test_init_files_hold_no_logic() -> None:
    """An `__init__.py` is empty, a docstring, or re-exports names."""
    for path in sources(*PACKAGES):
        if path.name == "__init__.py":
            text = path.read_text(encoding="utf-8")
            assert "def " not in text and "class " not in text, f"{path.relative_to(ROOT)} holds more than names"


def test_no_test_folder_is_a_package() -> None:
    """An `__init__.py` under tests/ would let a test folder take the name of a package (docs/adr/0001)."""
    assert files(ROOT / "tests", "__init__.py") == []
