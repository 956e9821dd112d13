"""The test cases of SQL on FHIR v2, all of them (https://github.com/FHIR/sql-on-fhir-v2/tree/master/tests)."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fhir_server.views.compiler import compile_view
from resources.documents import decode
from resources.outcomes import FhirError

DATA = Path(__file__).parents[1] / "data" / "sql-on-fhir-tests.ndjson.gz"

DEVIATIONS: dict[tuple[str, str], str] = {}
"""(file, title) -> why rows differ here. None do, the experimental cases included."""


def cases() -> list[Any]:
    with gzip.open(DATA, "rt", encoding="utf-8") as file:
        suites = [json.loads(line) for line in file]
    return [
        pytest.param(suite["resources"], case, id=f"{suite['file']}: {case['title']}")
        for suite in suites
        for case in suite["tests"]
        if (suite["file"], case["title"]) not in DEVIATIONS
    ]


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def spelt(rows: list[dict[str, Any]]) -> Counter[str]:
    """Rows to be compared: in any order, numbers by their value."""
    return Counter(json.dumps({k: number(v) for k, v in row.items()}, sort_keys=True, default=float) for row in rows)


def number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize(("resources", "case"), cases())
def test_case_of_the_specification(resources: list[Any], case: dict[str, Any]) -> None:
    """Each case gives the expected rows, from a decoded document and from stored bytes, or is refused as a whole."""
    try:
        view = compile_view(decode(body(case["view"])))
        names = [column.name for column in view.columns]
        rows = [dict(zip(names, row, strict=True)) for one in resources for row in view.rows(decode(body(one)))]
        read = [dict(zip(names, row, strict=True)) for one in resources for row in view.read(body(one))]
    except FhirError as refusal:
        assert case.get("expectError"), str(refusal)
        assert refusal.status == 422
        return
    assert not case.get("expectError")
    assert spelt(rows) == spelt(case["expect"])
    assert read == rows
    assert names == case.get("expectColumns", names)


def test_all_cases_are_run() -> None:
    """134 cases, 123 of them marked as shareable."""
    marked = [tag for case in cases() for tag in case.values[1]["tags"]]
    assert len(cases()) == 134 - len(DEVIATIONS)
    assert marked.count("shareable") == 123
