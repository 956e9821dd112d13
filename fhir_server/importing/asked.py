"""What an import is asked for: the manifest of a kick-off, read and checked
(https://github.com/smart-on-fhir/bulk-import/blob/master/import.md#bulk-data-import-kick-off-request)."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

import msgspec

from fhir_server.access.decision import Decision
from fhir_server.access.refusals import insufficient
from fhir_server.context import Context
from fhir_server.importing.parameters import is_parameters, manifest_of
from fhir_server.importing.sources import Sources
from fhir_server.messages import FhirRequest
from fhir_server.permission import APPEND_ONLY
from fhir_server.rest.prefer import preferences
from resources.outcomes import bad_request, error

Mode = Literal["create", "upsert", "keep-history"]

FORMATS = ("application/fhir+ndjson", "application/ndjson", "ndjson")
MOST_INPUTS = 10_000
LONGEST = 2_000


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input: the type of all its resources, and where it is fetched."""

    type: str
    url: str


class _Storage(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    type: str = "https"
    content_encoding: tuple[str, ...] = ()


class _Manifest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    input_format: str
    input_source: str
    input: tuple[Input, ...]
    storage_detail: _Storage = _Storage()
    mode: Mode = "upsert"


class Asked(msgspec.Struct, frozen=True):
    """What an import is asked for. `source` is the URI by which its data is followed, `mode` what becomes of an id that is there."""

    source: str
    inputs: tuple[Input, ...]
    mode: Mode


def read_asked(ctx: Context, request: FhirRequest) -> Asked:
    """The manifest in the request's body. Raises FhirError 400."""
    try:
        body = request.body or b"null"
        read = msgspec.convert(manifest_of(body), _Manifest) if is_parameters(body) else msgspec.json.decode(body, type=_Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        text = f"The body must be a manifest in JSON, or Parameters, with inputFormat, inputSource and input: {str(problem)[:200]}"
        raise bad_request(text, code="structure") from None
    if read.input_format not in FORMATS:
        raise bad_request(f"inputFormat must be {FORMATS[0]}", "inputFormat", "not-supported")
    if read.storage_detail.type not in ("https", "file") or not set(read.storage_detail.content_encoding) <= {
        "gzip",
        "zstd",
        "identity",
    }:
        text = "storageDetail must be of the type https or file, its contentEncoding gzip, zstd or none"
        raise bad_request(text, "storageDetail", "not-supported")
    if not 0 < len(read.input_source) <= LONGEST or not read.input_source.isprintable():
        raise bad_request(f"inputSource must be a URI of at most {LONGEST} characters", "inputSource", "value")
    _check_inputs(ctx, read.input)
    return Asked(read.input_source, read.input, read.mode)


def _check_inputs(ctx: Context, inputs: tuple[Input, ...]) -> None:
    if not 0 < len(inputs) <= MOST_INPUTS:
        raise bad_request(f"input names {len(inputs)} files; 1 to {MOST_INPUTS} are taken at once", "input", "value")
    sources = Sources.of(ctx.settings)
    for number, each in enumerate(inputs):
        place = f"input[{number}]"
        if each.type not in ctx.routes.types:
            raise bad_request(f"{place}.type {each.type[:64]} is not a resource type of FHIR R4", f"{place}.type", "value")
        if each.type in APPEND_ONLY:
            raise bad_request(
                f"{each.type}s are not imported: only the server itself writes its record", f"{place}.type", "not-supported"
            )
        try:
            sources.check(each.url)
        except ValueError as problem:
            raise bad_request(f"{place}.url {problem}", f"{place}.url", "security") from None


def told(asked: Asked) -> Iterator[tuple[str, str]]:
    """The manifest as the record of accesses has it: URLs without their queries, which may hold signatures."""
    yield from (("inputSource", asked.source.partition("?")[0]), ("mode", asked.mode))
    for input in asked.inputs:
        yield "input", f"{input.type} {input.url.partition('?')[0]}"


def check_preferences(request: FhirRequest) -> None:
    """Raises FhirError 400 unless the request says that it waits for no answer."""
    if not preferences(request.headers).asynchronous:
        raise bad_request("An import takes its time: send Prefer: respond-async", code="required")


def check_access(decision: Decision | None, asked: Asked) -> None:
    """Raises FhirError 403 unless the token is a backend service's or an administrator's, and allows to create, and unless the mode is
    `create` to update, every resource of each type: an import is no way around a grant for some of them."""
    if decision is None:
        return
    if decision.scope != "system" and not decision.administers:
        raise error(403, "forbidden", "Only backend services (system scopes) and administrators may import")
    for type in dict.fromkeys(each.type for each in asked.inputs):
        for letter in letters(asked.mode):
            reach: Any = decision.letter(letter)
            if reach is not None and not reach.whole(type):
                raise insufficient(decision, letters(asked.mode), type)


def letters(mode: Mode) -> str:
    """What a mode needs, in the letters of SMART scopes."""
    assert mode in get_args(Mode)
    return "c" if mode == "create" else "cu"
