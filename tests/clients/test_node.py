"""fhir-kit-client (https://github.com/Vermonster/fhir-kit-client) drives the server from Node.js; the steps are in node/check.mjs."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from robustness.running import Server

FOLDER = Path(__file__).parent / "node"


MISSING = "Node.js 18 or newer with npm is not installed (apt-get install nodejs npm)"


def install() -> None:
    """The packages of the lock file, once. Skips where they cannot be had, except in continuous integration."""
    lock, ready = FOLDER / "package-lock.json", FOLDER / "node_modules" / ".package-lock.json"
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # of several processes that test, one installs
        if ready.exists() and ready.stat().st_mtime >= lock.stat().st_mtime:
            return
        command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode and "CI" not in os.environ:
        pytest.skip(f"npm ci failed: {done.stderr.strip()[:300]}")
    assert done.returncode == 0, done.stderr


def old_or_missing() -> bool:
    """Whether this machine lacks what the client needs."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return True
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("v").split(".")[0]) < 18


@pytest.mark.skipif("CI" not in os.environ and old_or_missing(), reason=MISSING)
def test_fhir_kit_client(server: Server) -> None:
    """Every step of the script passes; its output names the one that does not."""
    install()
    command = ["node", "check.mjs", server.base]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
