"""Make `.venv/bin/fhir-server` run this source tree. Run by `make setup` with the Python of .venv; needs no network.

The project is an application that runs from its source tree (docs/adr/0001), so nothing is built or installed: a path file makes the
packages importable, a launcher starts the command.
"""

import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAUNCHER = """#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/python" -m fhir_server "$@"
"""


def main() -> None:
    Path(sysconfig.get_path("purelib"), "fhir_server_source.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    command = Path(sys.prefix, "bin", "fhir-server")
    command.write_text(LAUNCHER, encoding="utf-8")
    command.chmod(0o755)


if __name__ == "__main__":
    main()
