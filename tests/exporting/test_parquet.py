"""Exports as Parquet: the columns follow from the definitions, and nothing is lost."""

import io
import json
from typing import Any

import httpx
import pyarrow as pa
from exporting.asking import documents, manifests
from exporting.people import of
from pyarrow import parquet

from fhir_server.exporting.writing.parquet import schema_of

ODD = of(
    "Observation", "odd", status="final", code={"text": "é \"quoted\" \\ \n line"},
    component=[{"code": {"text": "a"}, "valueInteger": 3}], _status={"extension": [{"url": "http://a.example", "valueString": "b"}]},
    valueString="x", performer=[{"display": "a"}, {"display": "b"}],
)  # fmt: skip


def test_rows_are_the_documents(bulk: httpx.Client) -> None:
    """[I9] Put together again, the columns of each row are the document that the NDJSON has."""
    bulk.put("Observation/odd", json=ODD).raise_for_status()
    plain, columns = manifests(bulk, "$export", "$export?_outputFormat=application/vnd.apache.parquet")
    expected = {f"{each['resourceType']}/{each['id']}": each for each in documents(bulk, plain)}
    found: dict[str, dict[str, Any]] = {}
    for item in columns["output"]:
        answer = bulk.get(item["url"])
        assert answer.headers["content-type"] == "application/vnd.apache.parquet" and item["url"].endswith(".parquet")
        table = parquet.read_table(io.BytesIO(answer.content))
        assert table.num_rows == item["count"]
        assert table.schema.equals(schema_of(item["type"]))
        found |= {f"{each['resourceType']}/{each['id']}": each for each in _documents(table)}
    bulk.delete("Observation/odd").raise_for_status()
    assert found == expected


def _documents(table: pa.Table) -> list[dict[str, Any]]:
    told = {field.name: field.metadata[b"fhir:type"].decode() for field in table.schema}
    return [{name: _value(value, told[name]) for name, value in row.items() if value is not None} for row in table.to_pylist()]


def _value(value: Any, told: str) -> Any:
    complex = told[:1].isupper() or told.endswith("[]") or told == "decimal"
    return json.loads(value) if complex else value


def test_columns_follow_from_the_definitions() -> None:
    """Each choice has its columns, each primitive its type and what stands beside it."""
    observation, patient = schema_of("Observation"), schema_of("Patient")
    assert observation.field("valueQuantity").type == pa.string() and observation.field("valueInteger").type == pa.int32()
    assert observation.field("valueBoolean").type == pa.bool_() and observation.field("_valueBoolean").type == pa.string()
    assert patient.field("birthDate").type == pa.string() and patient.field("birthDate").metadata == {b"fhir:type": b"date"}
    assert {"meta", "contained", "extension", "text", "_id"} <= set(patient.names)


def test_what_is_large_is_not_told_twice(bulk: httpx.Client) -> None:
    """The least and the greatest value are told of plain columns, so that readers pass over what they do not look for, and not of JSON:
    there they would be whole documents."""
    bulk.put("Observation/odd", json=ODD).raise_for_status()
    [manifest] = manifests(bulk, "$export?_type=Observation&_outputFormat=application/vnd.apache.parquet")
    for item in manifest["output"]:
        with parquet.ParquetFile(io.BytesIO(bulk.get(item["url"]).content)) as file:
            group = file.metadata.row_group(0)
            told = {(column := group.column(n)).path_in_schema: column.is_stats_set for n in range(group.num_columns)}
        assert (told["id"], told["status"], told["code"], told["component"], told["_status"]) == (True, True, False, False, False)
    bulk.delete("Observation/odd").raise_for_status()
