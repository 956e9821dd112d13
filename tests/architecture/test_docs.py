"""The documentation keeps up with the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from architecture.tree import files

from fhir_server.config import Settings, variable
from fhir_server.routes import ROUTES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = files(ROOT, ".md")
INTERACTIONS = sorted({route.interaction for route in ROUTES if route.interaction != "operation"} | {"transaction"})
OPERATIONS = sorted({route.label for route in ROUTES if route.interaction == "operation"})


def test_the_page_of_settings_is_up_to_date() -> None:
    """docs/configuration.md is what `make docs` would write."""
    command = [sys.executable, "scripts/document_settings.py", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_row_of_smart_is_shown_by_a_test() -> None:
    """And docs/smart.md names these tests."""
    command = [sys.executable, "scripts/document_smart.py", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_rules_of_de_identification_are_shown() -> None:
    """docs/bulk.md has the tables that `make docs` would write."""
    command = [sys.executable, "scripts/document_deidentifying.py", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_setting_has_a_heading() -> None:
    """Each FHIR_ variable can be linked to, once."""
    headings = re.findall(r"^## (\S+)$", (DOCS / "configuration.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(variable(name) for name in Settings.model_fields)


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_every_interaction_has_its_page(interaction: str) -> None:
    """docs/api/interaction/<code>.md says what it does and what it does not."""
    page = (DOCS / "api" / "interaction" / f"{interaction}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {interaction}\n")
    assert "## What it does not" in page


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_has_its_page(operation: str) -> None:
    """docs/api/operation/<name>.md says what it does and what it does not."""
    page = (DOCS / "api" / "operation" / f"{operation.lstrip('$')}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {operation}\n")
    assert "## What it does not" in page


def test_no_page_is_left_over() -> None:
    """A page without its interaction or operation has gone."""
    assert {p.stem for p in (DOCS / "api" / "interaction").glob("*.md")} == set(INTERACTIONS)
    assert {p.stem for p in (DOCS / "api" / "operation").glob("*.md")} == {name.lstrip("$") for name in OPERATIONS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of this repository finds it, and its heading if it names one."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), f"{target} in {page.name}"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{target} in {page.name}"


def test_every_decision_is_listed() -> None:
    """docs/adr/README.md lists each decision by its number and title."""
    listed = (DOCS / "adr" / "README.md").read_text(encoding="utf-8")
    for path in (DOCS / "adr").glob("[0-9]*.md"):
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert f"[{title}]({path.name})" in listed, path.name


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
