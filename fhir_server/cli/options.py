"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[Path | None, typer.Option(help="Folder for all data (FHIR_DATA_DIR).", show_default="./data")]
