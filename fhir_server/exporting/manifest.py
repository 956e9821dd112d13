"""What is told of an export (https://hl7.org/fhir/uv/bulkdata/STU2/export.html#response---output-manifest).

Who asked with `allowPartialManifests` gets it in pages (https://hl7.org/fhir/uv/bulkdata/export.html#manifest-link), each as soon as
all its parts are done: a page always names the same files, and only gets a link to the next one. Others get one manifest with all
files in the end.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any
from urllib.parse import unquote

import msgspec

from fhir_server.context import Context
from fhir_server.exporting.asked import Asked
from fhir_server.exporting.plan import Whole
from fhir_server.exporting.writing.written import Written
from fhir_server.jobs.job import Job, Part
from fhir_server.jobs.work import Told, done_of
from fhir_server.messages import FhirRequest
from resources.instants import instant_text
from resources.outcomes import bad_request, not_found
from search.parse import pairs_of

PAGE = "page"
"""The parameter of `$job/[id]` that says which page of the manifest is meant, from 0."""

PARTS_ON_PAGE = 8
"""Parts whose files one page of the manifest names, where the client follows its links."""

Pages = tuple[tuple[Written, ...], ...]


class Exported(msgspec.Struct, frozen=True):
    """What came of an export: its files, by pages of the manifest."""

    pages: Pages


def pages_of(results: Sequence[msgspec.Raw]) -> Pages:
    """The files of the parts with these results, which are in order, by pages."""
    found = [msgspec.json.decode(each, type=tuple[Written, ...]) for each in results]
    starts = range(0, len(found), PARTS_ON_PAGE)
    return tuple(tuple(file for part in found[start : start + PARTS_ON_PAGE] for file in part) for start in starts)


def told(ctx: Context, request: FhirRequest, job: Job, parts: Sequence[Part]) -> Told:
    """The page of the manifest that is asked for, if it is ready; of a job under way only where the client follows links. Raises
    FhirError 400, 404."""
    ready = pages(job, parts) if job.parts and (job.state == "done" or is_partial(job)) else ()
    number = _page(request)
    if job.state == "done" and number >= len(ready):
        raise not_found("The manifest has no such page")
    return Told(manifest(ctx, request, job, ready, number) if number < len(ready) else None, done_of(job, parts))


def _page(request: FhirRequest) -> int:
    value = dict(pairs_of(request.query)).get(PAGE, "0")
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise bad_request(f"{PAGE} is a number from 0 on", PAGE, "value")
    return int(value)


def is_partial(job: Job) -> bool:
    """Whether the client follows the links of manifests."""
    return msgspec.json.decode(job.asked, type=Asked).partial


def pages(job: Job, parts: Sequence[Part]) -> Pages:
    """The pages that are ready: of a job under way those of which all `parts` (number 0 left out, in order) are done."""
    if job.state == "done":
        found = msgspec.json.decode(job.result, type=Exported).pages or ((),)
        return found if is_partial(job) else (tuple(file for page in found for file in page),)
    done = [part.result for part in takewhile(lambda part: part.done, parts)]
    return pages_of(done[: len(done) // PARTS_ON_PAGE * PARTS_ON_PAGE])


def manifest(ctx: Context, request: FhirRequest, job: Job, ready: Pages, number: int) -> dict[str, Any]:
    """Page `number` of the manifest, with the addresses of the files as the caller writes this server's."""
    whole = msgspec.json.decode(job.plan, type=Whole)
    asked = msgspec.json.decode(job.asked, type=Asked)
    place = f"{request.base}/$job/{job.id}"
    files = ready[number]
    told: dict[str, Any] = {
        "transactionTime": instant_text(whole.instant),
        "request": _request(job.request) if asked.deidentified else job.request,
        "requiresAccessToken": ctx.settings.auth != "off",
    }
    if asked.deidentified:
        told["extension"] = {"deidentified": asked.deidentified}
    if asked.organized:
        told["outputOrganizedBy"] = "Patient"
    told["output"] = [_item(place, file) for file in files if file.role == "output"]
    told["deleted"] = [_item(place, file) for file in files if file.role == "deleted"]
    told["error"] = [_item(place, file) for file in whole.errors]
    if number + 1 < len(ready):
        told["link"] = [{"relation": "next", "url": f"{place}?{PAGE}={number + 1}"}]
    return told


def _request(url: str) -> str:
    """The kick-off without what a filter says: the manifest lies beside de-identified files, and somebody may have named a person."""
    path, mark, query = url.partition("?")
    kept = [each for each in query.split("&") if unquote(each.partition("=")[0]) != "_typeFilter"]
    return path + mark + "&".join(kept) if any(kept) else path


def _item(place: str, file: Written) -> dict[str, Any]:
    item = {"type": file.type} if file.type else {}
    return {**item, "url": f"{place}/{file.name}", "count": file.count}


def about(job: Job, parts: Sequence[Part], name: str) -> Sequence[str] | None:
    """The types of the documents in the file of this name, if the manifest names one."""
    whole = msgspec.json.decode(job.plan, type=Whole | None)
    errors = whole.errors if whole is not None else ()
    files = (file for page in pages(job, parts) for file in page)
    return next((file.about for file in (*errors, *files) if file.name == name), None)
