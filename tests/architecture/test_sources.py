"""Data that others published is here as SOURCE.md says."""

import re
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("folder", ["conformance/definitions", "sample_data"])
def test_every_data_file_is_listed_with_its_hash(folder: str) -> None:
    """SOURCE.md names each file with the SHA-256 that it has."""
    text = (ROOT / folder / "SOURCE.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", text, re.MULTILINE))
    there = {path.name: sha256(path.read_bytes()).hexdigest() for path in (ROOT / folder).glob("*.gz")}
    assert there == listed
