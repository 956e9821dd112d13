"""The embedded server loads nothing that only other engines need: it starts at once and stays small."""

import subprocess
import sys

from robustness.running import ROOT, clean_environment

HEAVY = ("elasticsearch", "pymongo", "motor", "asyncpg", "pint", "ucumvert", "pandas", "numpy")


def test_what_is_not_loaded() -> None:
    """Drivers and clients of other engines, and the library that units are computed with."""
    code = f"import fhir_server.cli.application, fhir_server.app, sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
