"""`fhir-server keys`: the keys that sign id_tokens, on the command line."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from fhir_server.cli.application import application


def run(data: Path, *arguments: str, **environment: str) -> Result:
    """The finished command."""
    settings = {"FHIR_DATA_DIR": str(data), **environment}
    with ThreadPoolExecutor(1) as thread:  # a loop of its own
        return thread.submit(CliRunner().invoke, application, ["keys", *arguments], env=settings).result()


def test_keys_are_rotated_and_listed(tmp_path: Path) -> None:
    """The new key is in use, the old one is told for a day; it works after the secret has changed, too, and no private key is shown."""
    data = tmp_path / "data"
    assert "no keys yet" in run(data, "list").stdout
    first = json.loads(run(data, "rotate", "--json").stdout)
    assert [(key["algorithm"], key["toldUntil"]) for key in first] == [("RS256", None)]
    done = run(data, "rotate", FHIR_SECRET="another secret of sixteen characters")
    assert done.exit_code == 0, done.output
    both = json.loads(run(data, "list", "--json").stdout)
    assert [key["toldUntil"] is None for key in both] == [True, False]
    assert both[1]["kid"] == first[0]["kid"] and both[0]["kid"] in done.stdout
    assert set(both[0]) == {"algorithm", "kid", "made", "toldUntil"}
    wrong = run(data, "rotate", "--algorithm", "HS256")
    assert wrong.exit_code == 2 and "RS256" in wrong.output
