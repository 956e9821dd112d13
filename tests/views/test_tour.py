"""docs/analysts.md works as it stands: each block is run, from top to bottom, on a server with the sample data."""

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from matplotlib import pyplot
from matplotlib.testing.compare import compare_images
from robustness.running import ROOT, Server, clean_environment

PAGE = ROOT / "docs" / "analysts.md"
PICTURE = ROOT / "docs" / "images" / "heights.png"
BASE = "http://127.0.0.1:8000"


class Block(NamedTuple):
    """A block of the page: its language, what stands in it, on which line it begins."""

    language: str
    text: str
    line: int


def blocks() -> list[Block]:
    """All blocks that say what they are."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(each[1], each[2], text.count("\n", 0, each.start()) + 2) for each in found]


class Notebook:
    """Carries out blocks in a folder, one after the other."""

    def __init__(self, folder: Path, server: Server) -> None:
        self._server, self._names = server, dict[str, Any]()
        paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        settings = {"FHIR_DATA_DIR": str(server.data_dir), "FHIR_PORT": str(server.port)}
        self._environment = clean_environment(PATH=paths, **settings)
        self._folder = folder

    def carry_out(self, block: Block) -> str:
        """What it prints."""
        text = block.text.replace(BASE, self._server.url)
        if block.language == "sh":
            done = subprocess.run(
                ["bash", "-e", "-c", text],
                cwd=self._folder,
                env=self._environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            assert done.returncode == 0, f"line {block.line}: {done.stderr}"
            return done.stdout
        assert block.language == "python", block
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.chdir(self._folder):
            exec(compile("\n" * (block.line - 1) + text, str(PAGE), "exec"), self._names)
        return printed.getvalue()

    def close(self) -> None:
        """What an end of the session would close."""
        pyplot.close("all")
        for each in self._names.values():
            if isinstance(each, httpx.Client):
                each.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of the page, with sign-in, on a port of its own; the sample data are loaded before it starts."""
    data = tmp_path_factory.mktemp("tour") / "data"
    load = (sys.executable, "-m", "fhir_server", "load", "sample_data", "--processes", "1", "--data-dir", str(data))
    subprocess.run(load, cwd=ROOT, env=clean_environment(), check=True, capture_output=True, timeout=300)
    with Server(data, "--auth", "smart") as running:
        yield running


def test_the_tour(server: Server, tmp_path: Path) -> None:
    """Each block runs, prints what is shown behind it, and the picture on the page is the one that is drawn."""
    printed, shown = "", 0
    with contextlib.closing(Notebook(tmp_path, server)) as notebook:
        for block in blocks():
            if block.language == "text":
                assert _plain(printed) == _plain(block.text), f"line {block.line}"
                shown += 1
            else:
                printed = notebook.carry_out(block)
    assert shown >= 7
    drawn = tmp_path / "heights.png"
    assert drawn.stat().st_size < 100_000
    assert compare_images(str(PICTURE), str(drawn), tol=3) is None


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
