"""`--data-dir` names the data folder of one command, whatever FHIR_DATA_DIR says."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fhir_server.cli.application import application

CLIENT = (
    "client",
    "add",
    "--name",
    "n",
    "--type",
    "public",
    "--scope",
    "patient/*.rs",
    "--redirect-uri",
    "https://app.example/back",
)


@pytest.mark.parametrize(
    "command",
    [
        ("token",),
        ("keys", "list"),
        ("user", "list"),
        ("user", "add", "ann", "--role", "admin"),
        ("client", "list"),
        CLIENT,
        ("audit", "keys"),
        ("reindex",),
    ],
    ids=" ".join,
)
def test_the_named_folder_is_used(command: tuple[str, ...], tmp_path: Path) -> None:
    """The database lies in the folder that the option names, and nothing in the other one."""
    named, other = tmp_path / "named", tmp_path / "other"

    def run(*words: str) -> None:
        with ThreadPoolExecutor(1) as thread:  # a loop of its own
            asked = thread.submit(
                CliRunner().invoke, application, [*words, "--data-dir", str(named)], env={"FHIR_DATA_DIR": str(other)}
            )
            assert asked.result().exit_code == 0, asked.result().output

    run("token")
    before = (named / "fhir.db").stat().st_ino
    run(*command)
    assert (named / "fhir.db").stat().st_ino == before and not other.exists()
