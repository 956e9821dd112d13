"""The five packages have common names; nothing else may answer to them (docs/adr/0001-application-not-library.md)."""

import importlib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["fhir_server", "search", "smart_auth", "conformance", "resources"])
def test_a_package_is_the_one_of_this_tree(name: str) -> None:
    """The import name leads to the folder of that name in this repository, and no installed distribution claims it."""
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve().is_relative_to(ROOT / name)
    assert packages_distributions().get(name, []) == []
