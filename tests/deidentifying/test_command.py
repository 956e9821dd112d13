"""`fhir-server deidentify`: files in, files out, one a type; a secret that stays secret; memory that stays small."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deidentifying.documents import BASE, SECRET, deidentifier, population
from robustness.running import clean_environment

from fhir_server.deidentifying import files
from fhir_server.deidentifying.files import Files
from fhir_server.deidentifying.secret import BadSecret, secret_in
from resources.documents import encode
from search.extract import Extractor
from search.parameters import registry

COMMAND = [sys.executable, "-m", "fhir_server", "deidentify"]
MARY = b'{"resourceType":"Patient","id":"p1","name":[{"family":"Jones"}],"gender":"female","birthDate":"1980-02-03"}'
WEIGHT = (
    b'{"resourceType":"Observation","id":"o1","status":"final","code":{"text":"w"},"subject":{"reference":"Patient/p1"},'
    b'"effectiveDateTime":"2020-02-03"}'
)


def run(folder: Path, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """The command, in its folder."""
    return subprocess.run(
        [*COMMAND, *options], cwd=folder, capture_output=True, text=True, env=clean_environment(), check=False, timeout=120, **more
    )


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def of(folder: Path) -> Files:
    """The same without a process."""
    return Files(deidentifier(), Extractor(registry(), BASE), folder)


def test_files_in_files_out(tmp_path: Path) -> None:
    """Several files, packed or not, become one a type; what failed is told with its line, and nothing of its content."""
    bad = b'{"resourceType":"Patient","gender":17,"birthDate":"Jones"}'
    (tmp_path / "a.ndjson").write_bytes(b"\n".join((MARY, b"", b"Jones, Mary", bad)) + b"\n")
    with gzip.open(tmp_path / "b.ndjson.gz", "wb") as packed:
        packed.write(
            WEIGHT + b"\n" + b'{"resourceType":"Basic","code":{"text":"x"}}\n{"resourceType":"Binary","contentType":"a/b"}'
        )
    done = run(tmp_path, "a.ndjson", "b.ndjson.gz", "--out", "out", "--as-of", "2026-01-01")
    assert done.returncode == 1, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Basic.ndjson", "Observation.ndjson", "Patient.ndjson"]
    patient, observation = (read(tmp_path / "out" / f"{type}.ndjson")[0] for type in ("Patient", "Observation"))
    assert observation["subject"]["reference"] == f"Patient/{patient['id']}"
    assert patient["birthDate"] != "1980-02-03"
    assert "a.ndjson line 3: no resource of FHIR R4 in JSON" in done.stderr
    assert "a.ndjson line 4: not valid at Patient." in done.stderr
    assert "Jones" not in done.stderr + done.stdout
    assert "Binary: 1 left out" in done.stdout
    assert "3 documents of 3 types" in done.stdout


def test_one_secret_one_pseudonym(tmp_path: Path) -> None:
    """The secret is made once, for its owner alone; later files join with earlier ones, those of another project do not."""
    (tmp_path / "a.ndjson").write_bytes(MARY)
    ids = []
    for out, project in (("1", ""), ("2", ""), ("3", "other")):
        done = run(tmp_path, "-", "--out", out, "--secret-file", "key", "--project", project, "--json", input=MARY.decode())
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["written"] == {"Patient": 1}
        ids.append(read(tmp_path / out / "Patient.ndjson")[0]["id"])
    assert ids[0] == ids[1] != ids[2]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert len((tmp_path / "key").read_bytes()) == 32


def test_only_years(tmp_path: Path) -> None:
    """--dates year."""
    done = run(tmp_path, "-", "--out", "out", "--dates", "year", input=MARY.decode())
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "out" / "Patient.ndjson")[0]["birthDate"] == "1980"
    assert (tmp_path / "data" / "deidentifying-secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("a.ndjson", "--out", "full"), "full is not empty"),
        (("missing.ndjson", "--out", "out"), "missing.ndjson does not exist"),
        (("a.txt", "--out", "out"), "a.txt is no NDJSON file"),
        (("a.ndjson", "--out", "out", "--secret-file", "out/key"), "would lie among the de-identified files"),
        (("a.ndjson", "--out", "out", "--secret-file", "open-key"), "can be read by others"),
        (("a.ndjson", "--out", "out", "--secret-file", "nowhere/key"), "cannot be made"),
        (("a.ndjson", "--out", "a.ndjson"), "a.ndjson cannot be used"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, options: tuple[str, ...], text: str) -> None:
    """In one line, with exit code 2, and nothing is written."""
    (tmp_path / "a.ndjson").write_bytes(MARY)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "open-key").write_bytes(SECRET)
    (tmp_path / "open-key").chmod(0o644)
    done = run(tmp_path, *options)
    assert (done.returncode, text in done.stderr.replace("\n", " ")) == (2, True), done.stderr
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    """A file that was cut off is no secret."""
    path = tmp_path / "key"
    path.touch(mode=0o600)
    with pytest.raises(BadSecret, match="has 0 bytes, and 32 are needed"):
        secret_in(path)


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    """What stood before comes out; the line where it ends is told."""
    packed = gzip.compress(b"\n".join([MARY] * 3) + b"\n" + os.urandom(50_000))
    (tmp_path / "a.ndjson.gz").write_bytes(packed[:-20_000])
    totals = of(tmp_path / "out").run([str(tmp_path / "a.ndjson.gz")])
    assert totals.written == {"Patient": 3}
    assert any("cut off" in failure.text for failure in totals.failures)


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is too long is passed over, not read; those after it come."""
    monkeypatch.setattr(files, "LONGEST", 1_000)
    (tmp_path / "a.ndjson").write_bytes(b'"' + b"x" * 3_000_000 + b'"\n' + MARY + b"\n" + b"y" * 2_000)
    totals = of(tmp_path / "out").run([str(tmp_path / "a.ndjson")])
    assert totals.written == {"Patient": 1}
    assert [(failure.line, failure.text.startswith("the line is longer")) for failure in totals.failures] == [(1, True), (3, True)]


def test_a_full_disk(tmp_path: Path) -> None:
    """No file is left where the folder has no room: limited here by the size that a file may have."""
    with (tmp_path / "a.ndjson").open("wb") as file:
        for _ in range(20):
            file.writelines(
                encode(document) + b"\n" for _, document, _ in population() if document["resourceType"] == "Observation"
            )
    done = run(tmp_path, "a.ndjson", "--out", "out", preexec_fn=_small_files)
    assert done.returncode == 2, done.stderr
    assert "cannot be used: File too large" in done.stderr.replace("\n", " ")
    assert list((tmp_path / "out").iterdir()) == []


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Forty times the lines need no more memory to speak of."""
    lines = b"".join(encode(document) + b"\n" for _, document, _ in population() if document["resourceType"] == "Condition")
    peaks = []
    for times in (1, 40):
        (tmp_path / "a.ndjson").write_bytes(lines * times)
        code = (
            "import resource, sys; from pathlib import Path; from deidentifying.test_command import of;"
            "print(sum(of(Path(sys.argv[1])).run(['a.ndjson']).written.values()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, f"out{times}"],
            cwd=tmp_path,
            env=clean_environment() | {"PYTHONPATH": f"{files.__file__.rsplit('/', 3)[0]}:{Path(__file__).parents[1]}"},
            capture_output=True,
            text=True,
            check=True,
        )
        count, peak = done.stdout.split()
        assert int(count) == lines.count(b"\n") * times
        peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 20_000


def _small_files() -> None:
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
