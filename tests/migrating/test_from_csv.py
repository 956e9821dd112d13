"""Rows become resources by the mapping, whatever is in them; what is wrong is told by row, column and FHIRPath."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from migrating.people import LABS, PEOPLE, VISITS, write
from migrating.running import Done, holding, imported, versions

ROOT = Path(__file__).resolve().parents[2]


def documented() -> str:
    """The mapping of docs/migration.md."""
    found = re.search(r"```yaml\n(.*?)```", (ROOT / "docs/migration.md").read_text("utf-8"), re.DOTALL)
    assert found
    return found.group(1)


@pytest.fixture(scope="module")
def extracts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 rows, and the documented mapping."""
    folder = Path(tmp_path_factory.mktemp("extracts"))
    write(folder)
    (folder / "mapping.yaml").write_text(documented(), "utf-8")
    return folder


@pytest.fixture(scope="module")
def first(extracts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """What came of them, and the store."""
    folder = Path(tmp_path_factory.mktemp("csv")) / "data"
    return imported(folder, "csv", str(extracts / "mapping.yaml")), folder


@pytest.fixture(scope="module")
def here(first: tuple[Done, Path], extracts: Path) -> Iterator[httpx.Client]:
    """A server of that store, after a second import."""
    again = imported(first[1], "csv", str(extracts / "mapping.yaml"))
    assert again.code == 0 and again.of("unchanged") == first[0].of("written") and not again.of("written")
    with holding(first[1]) as client:
        yield client


def test_all_rows_come(first: tuple[Done, Path], extracts: Path) -> None:
    """Each row makes its resource, but for lab values without a result; all are compared with what the store holds."""
    with (extracts / "labs.csv").open(encoding="utf-8", newline="") as file:
        results = sum(row["result"] != "" for row in csv.DictReader(file))
    done = first[0]
    assert done.code == 0, done.said
    assert done.of("written") == done.of("verified") == {"Encounter": VISITS, "Observation": results, "Patient": PEOPLE}
    assert 0 < results < LABS and done.report == []


def test_a_second_time_nothing_changes(here: httpx.Client) -> None:
    """Each resource has one version."""
    assert versions(here, "Patient") == PEOPLE


def test_what_a_row_becomes(here: httpx.Client) -> None:
    """Names are split, codes mean something, dates and numbers are FHIR's, what is empty is left out with its constants."""
    patient = here.get("Patient/pat-1").json()
    del patient["meta"]
    assert patient == {
        "resourceType": "Patient", "id": "pat-1", "identifier": [{"system": "https://hospital.example.org/numbers", "value": "1"}],
        "name": [{"family": "Müller", "given": ["Anna"]}], "gender": "male", "birthDate": "1988-02-08",
        "address": [{"line": ["Street 1\n2nd floor"]}], "telecom": [{"system": "email", "value": "p1@example.org"}],
    }  # fmt: skip
    visit = here.get("Encounter/V1").json()
    assert visit["period"] == {"start": "2024-01-02T14:18:00+01:00", "end": "2024-01-05T15:18:00+01:00"}
    assert visit["subject"] == {"reference": "Patient/pat-63"} and visit["class"]["code"] == "AMB"
    labs = [each["resource"] for each in here.get("Observation?_count=500").json()["entry"]]
    limits = [each["valueQuantity"] for each in labs if "comparator" in each["valueQuantity"]]
    assert {each["comparator"] for each in limits} == {"<", ">="} and {each["value"] for each in limits} == {8, 17, 130, 150}
    assert {re.sub(r"\d", "9", each["effectiveDateTime"]) for each in labs} == {"9999-99-99T99:99:99+99:99"}
    assert here.get("Observation?encounter=Encounter/V261&_summary=count").json()["total"] >= 1


MAPPING = """
zone: Europe/Berlin
codes:
  sex: {m: male, f: female}
files:
  a.csv:
    resources:
    - type: Patient
      id: number
      elements:
        name.family: name
        gender: {column: sex, codes: sex}
        birthDate: {column: born, date: ["%d.%m.%Y", "%Y"]}
        deceasedDateTime: {column: died, date: "%d.%m.%Y %H:%M"}
        multipleBirthInteger: order
        active: alive
        telecom.system: kind
        telecom.value: kind
"""
HEADER = "number,name,sex,born,died,order,alive,kind"


def run(tmp_path: Path, rows: str, mapping: str = MAPPING, *options: str) -> Done:
    """An import of one file."""
    (tmp_path / "mapping.yaml").write_text(mapping, "utf-8")
    (tmp_path / "a.csv").write_text(f"{HEADER}\n{rows}", "utf-8")
    return imported(tmp_path / "data", "csv", str(tmp_path / "mapping.yaml"), *options)


@pytest.mark.parametrize(
    ("row", "place", "text"),
    [
        ("1,x,q,,,,,", "Patient.gender", "'q' is none of the codes m, f, column sex"),
        ("1,x,,31.02.1980,,,,", "Patient.birthDate", "'31.02.1980' is no date of the form %d.%m.%Y or %Y, column born"),
        ("1,x,,,31.03.2024 02:30,,,", "Patient.deceased", "left out in Europe/Berlin, when clocks were put forward, column died"),
        ("1,x,,,,one,,", "Patient.multipleBirth", "'one' is no whole number, column order"),
        ("1,x,,,,,yes,", "Patient.active", "'yes' is neither true nor false; say by codes what it means, column alive"),
        ("1/2,x,,,,,,", "Patient.id", "no id of FHIR"),
        (",x,,,,,,", "Patient.id", "The row has nothing to make an id of, column number"),
        ("1,x,,,,,,telegraph", "Patient.telecom[0].system", ", column kind"),
        ("1,x", None, "The row has 2 cells, and the header 8: is it quoted as it should be?"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_row(tmp_path: Path, row: str, place: str | None, text: str) -> None:
    """It is told with file, row, column and FHIRPath, the row comes to nothing, and the others are written."""
    done = run(tmp_path, f"8,x,,,,,,\n{row}\n9,y,f,1980,1.2.2024 00:30,,true,phone\n")
    assert done.code == 1 and done.of("written") == {"Patient": 2}
    [issue] = done.report[0]["issue"]
    assert issue["diagnostics"].startswith("a.csv row 3") and text in issue["details"]["text"]
    assert issue.get("expression", [None])[0] == place
    assert text.partition("'")[2] in done.said.replace("\\", "")


def test_a_row_that_says_something_else_of_the_same_id(tmp_path: Path) -> None:
    """The first one counts, the same once more is no mistake, what differs is told with both rows; so it is the second time."""
    for written in (1, 0):
        done = run(tmp_path, "1,x,,,,,,\n1,x,,,,,,\n1,y,,,,,,\n")
        assert done.of("repeated") == done.of("failed") == {"Patient": 1} and len(done.of("written")) == written
        assert done.texts == [
            "a.csv row 4: Patient/1 was made before, with other content, by a.csv row 2: two rows need two ids, or the same content"
        ]


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_references_that_lead_nowhere(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Each resource that is missing is told once, with the first row that refers to it; it is a warning."""
    basic = "\n    - type: Basic\n      id: number\n      when: order\n      elements:\n        code.text: name\n"
    mapping = f"{MAPPING.rstrip()}{basic}        subject: {{reference: Patient, column: order}}\n"
    mapping = mapping.replace("        multipleBirthInteger: order\n", "")
    done = run(tmp_path, "1,x,,,,1,,\n2,x,,,,7,,\n3,x,,,,7,,\n", mapping, *options)
    assert done.code == 0 and done.of("written") == {"Basic": 3, "Patient": 3} and done.summary["dangling"] == 1
    assert done.texts == ["a.csv row 3: Patient/7 is referred to, and is not here"]


def test_a_dry_run_of_rows(tmp_path: Path) -> None:
    """It finds the same mistakes, and makes no store."""
    done = run(tmp_path, "1,x,q,,,,,\n2,x,m,,,,,\n3,x,,,,,,telegraph\n", MAPPING, "--dry-run")
    assert done.code == 1 and done.of("written") == {"Patient": 1} and done.of("failed") == {"Patient": 2}
    assert len(done.report) == 2 and not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("content", "options", "text"),
    [
        (f"{HEADER}\n1,M\xfcller,,,,,,\n".encode("latin-1"), "", "a.csv is not text in utf-8-sig"),
        (b"", "", "a.csv is empty"),
        (f'{HEADER}\n1,"x\n'.encode(), "", "a.csv row 2 cannot be read"),
        (f"{HEADER},name\n".encode(), "", "a.csv has the column 'name' twice"),
        (b"number;name\n1;x\n", "", "a.csv has no column 'name'; it has number;name"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, options: str, text: str) -> None:
    """Nothing of it is carried out, or nothing behind what can be read; the reason is one sentence."""
    (tmp_path / "mapping.yaml").write_text(MAPPING, "utf-8")
    (tmp_path / "a.csv").write_bytes(content)
    done = imported(tmp_path / "data", "csv", str(tmp_path / "mapping.yaml"))
    assert done.code == 2 and text in done.said


def test_encodings_and_headers(tmp_path: Path) -> None:
    """A file of Windows without a header, with empty rows, its name by a pattern; the mapping as JSON."""
    elements = {
        "name[1].family": "name",
        "name.text": {"value": "no"},
        "managingOrganization": {"reference": "Organization", "column": "n"},
        "managingOrganization.display": "name",
    }
    resource = {"type": "Patient", "id": {"text": "x-{n}"}, "elements": elements}
    told: dict[str, Any] = {"encoding": "cp1252", "delimiter": ";", "header": ["n", "name"], "resources": [resource]}
    (tmp_path / "mapping.json").write_text(json.dumps({"files": {"*.txt": told}}), "utf-8")
    (tmp_path / "a.txt").write_bytes("1;Müller €\r\n;\r\n\r\n2;\r\n".encode("cp1252"))
    done = imported(tmp_path / "data", "csv", str(tmp_path / "mapping.json"))
    assert done.code == 0, done.said
    with holding(tmp_path / "data") as client:
        patient = client.get("Patient/x-1").json()
        assert patient["name"] == [{"family": "Müller €"}, {"text": "no"}]
        assert patient["managingOrganization"] == {"reference": "Organization/1", "display": "Müller €"}
        assert client.get("Patient/x-2").json()["name"] == [{"text": "no"}]
