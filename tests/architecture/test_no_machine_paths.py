"""What is in the repository works on any machine."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIP = (".gz", ".zstd", ".png")
HOMES = re.compile("/(?:" + "|".join(("home", "Users", "root")) + r")/[A-Za-z]")
INDEXES = re.compile(r"^\s*(?:-i|--(?:extra-)?index-url|--find-links|--trusted-host)\b", re.MULTILINE)


def tracked() -> list[Path]:
    """The files that git knows, or all where there is no git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        files = [
            p
            for folder in ROOT.iterdir()
            if not folder.name.startswith(".")
            for p in (folder.rglob("*") if folder.is_dir() else [folder])
        ]
    return [path for path in files if path.is_file() and path.suffix not in SKIP]


def test_no_file_names_a_place_on_one_machine() -> None:
    """No home folders, and not the folder in which this copy lies."""
    own = str(ROOT) if len(ROOT.parts) > 2 else None
    found = []
    for path in tracked():
        text = path.read_text(encoding="utf-8", errors="replace")
        if HOMES.search(text) or (own is not None and own in text):
            found.append(str(path.relative_to(ROOT)))
    assert found == []


def test_requirements_name_no_registry() -> None:
    """Where packages come from is the machine's business: requirements hold names, versions and hashes."""
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text(encoding="utf-8")
        assert not INDEXES.search(text), path.name
        assert "://" not in "".join(line for line in text.splitlines() if not line.lstrip().startswith("#")), path.name
