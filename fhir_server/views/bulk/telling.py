"""What is told of an export of views: a Parameters resource
(https://sql-on-fhir.org/ig/OperationDefinition-ViewDefinitionExport.html#output-parameters)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from fhir_server.context import Context
from fhir_server.exporting.writing.written import Written
from fhir_server.jobs.job import Job, Part
from fhir_server.jobs.work import Told, done_of
from fhir_server.messages import FhirRequest
from fhir_server.views.bulk.asked import Asked
from resources.instants import instant_text


class Exported(msgspec.Struct, frozen=True):
    """What came of it: the files of each view, in the order of the views, and when it was done (microseconds since the epoch)."""

    views: tuple[tuple[Written, ...], ...]
    ended: int


def accepted(asked: Asked, id: str, place: str) -> dict[str, Any]:
    """The answer to a kick-off; `place` is the address at which the job is told of."""
    return _parameters(_head(asked, id, "accepted", place))


def told(ctx: Context, request: FhirRequest, job: Job, parts: Sequence[Part]) -> Told:
    """The result of an export that is done."""
    if job.state != "done":
        return Told(None, done_of(job, parts))
    asked = msgspec.json.decode(job.asked, type=Asked)
    result = msgspec.json.decode(job.result, type=Exported)
    place = f"{request.base}/$job/{job.id}"
    listed = _head(asked, job.id, "completed", place)
    listed += [
        {"name": "exportStartTime", "valueInstant": instant_text(job.created)},
        {"name": "exportEndTime", "valueInstant": instant_text(result.ended)},
        {"name": "exportDuration", "valueInteger": max(0, result.ended - job.created) // 1_000_000},
    ]
    for view, files in zip(asked.views, result.views, strict=True):
        locations = [{"name": "location", "valueUri": f"{place}/{file.name}"} for file in files]
        listed.append({"name": "output", "part": [{"name": "name", "valueString": view.name}, *locations]})
    return Told(_parameters(listed), "done")


def about(job: Job, parts: Sequence[Part], name: str) -> Sequence[str] | None:
    """The type of the documents that the rows of a file were made of; None unless the result names the file."""
    if job.state != "done":
        return None
    files = (file for of_view in msgspec.json.decode(job.result, type=Exported).views for file in of_view)
    return next((file.about for file in files if file.name == name), None)


def _head(asked: Asked, id: str, status: str, place: str) -> list[dict[str, Any]]:
    tracking = [{"name": "clientTrackingId", "valueString": asked.tracking}] if asked.tracking else []
    return [
        {"name": "exportId", "valueString": id},
        *tracking,
        {"name": "status", "valueCode": status},
        {"name": "location", "valueUri": place},
        {"name": "cancelUrl", "valueUri": place},
        {"name": "_format", "valueCode": asked.format},
    ]


def _parameters(listed: list[dict[str, Any]]) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": listed}
