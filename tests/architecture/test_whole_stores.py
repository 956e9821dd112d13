"""Who has the whole store: nobody else could show, or tell of, what a caller may not see (docs/adr/0016)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "fhir_server"

HANDLERS = ("bundles", "interactions", "operations", "searching")
"""What these do is done with the Context that `perform` gives them."""

OUT_OF_VIEW = {
    "searching/custom.py": "reads the SearchParameters that everybody's searches know",
    "searching/definitions.py": "reads the SearchParameters that everybody's searches know",
}
"""Modules of the handlers' folders that are given a store beside the Context -> for what."""

WITHOUT_DECISION = {
    "operations/access_log.py": "shows patients who saw their record, by rules of its own: AuditEvents are in nobody's scopes",
    "access/views.py": "makes one view of another",
    "exporting/candidates.py": "lists ids of what may be exported, which are read as the caller may see them by then",
}
"""Modules that may look behind a view -> for what."""


def modules(*folders: str) -> list[str]:
    """The modules of the folders (all without any), relative to `fhir_server`."""
    names = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
    return [name for name in names if not folders or name.startswith(tuple(f"{folder}/" for folder in folders))]


def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def imported(name: str) -> set[str]:
    """What a module imports by name, as `module.name`."""
    nodes = [node for node in ast.walk(tree(name)) if isinstance(node, ast.ImportFrom)]
    return {f"{node.module}.{each.name}" for node in nodes for each in node.names}


@pytest.mark.parametrize("name", modules(*HANDLERS))
def test_handlers_have_no_store_but_that_of_their_context(name: str) -> None:
    """They neither name the store's type, to be given one beside the Context, nor make or open one."""
    if name not in OUT_OF_VIEW:
        wrong = {
            each
            for each in imported(name)
            if each.startswith(("resources.stores.", "search.indexes.sqlite.index", "fhir_server.app."))
        }
        wrong |= imported(name) & {"resources.store.ResourceStore", "fhir_server.app.open_context"}
        assert not wrong


@pytest.mark.parametrize("name", modules())
def test_nobody_else_looks_behind_a_view(name: str) -> None:
    """`.behind` of a view, and a Context without its decision, are for those who are listed with their reason."""
    looks = [node for node in ast.walk(tree(name)) if isinstance(node, ast.Attribute) and node.attr == "behind"]
    if name not in WITHOUT_DECISION:
        assert not looks and "fhir_server.access.views.whole" not in imported(name)


@pytest.mark.parametrize("name", [*OUT_OF_VIEW, *WITHOUT_DECISION])
def test_the_lists_are_true(name: str) -> None:
    """Who is listed is there, and makes use of it."""
    used = imported(name) & {"resources.store.ResourceStore", "fhir_server.access.views.whole"}
    assert used or name == "access/views.py"


def test_every_request_goes_through_the_views() -> None:
    """There is one call of a route's handler, and what it is given has just been made for the decision."""
    found = [
        ast.unparse(node.args[0])
        for name in modules()
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "handler"
    ]
    assert found == ["seen(ctx, decision, route.access)"]
