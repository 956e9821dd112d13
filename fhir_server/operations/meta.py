"""$meta, $meta-add, $meta-delete (https://hl7.org/fhir/R4/resource-operation-meta.html).

$meta-add and $meta-delete write a new version of the resource, through the same path as every write: tags and labels decide who
may see what, so a change of them belongs in the history and under If-Match like any other. A change that changes nothing writes
nothing.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fhir_server.contention import repeated
from fhir_server.context import Context
from fhir_server.interactions.answers import live
from fhir_server.interactions.patch import RACES, check_version, patched
from fhir_server.interactions.write import write
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.operations.parameters import answer, read
from fhir_server.rest.conditional import if_match
from resources.outcomes import bad_request
from resources.store import Version
from search.index import TooCostly

DEFINITION = "http://hl7.org/fhir/OperationDefinition/Resource-meta"
DEFINITION_ADD = "http://hl7.org/fhir/OperationDefinition/Resource-meta-add"
DEFINITION_DELETE = "http://hl7.org/fhir/OperationDefinition/Resource-meta-delete"

_LISTS = ("profile", "security", "tag")

Meta = dict[str, Any]


class _OnlyMeta(msgspec.Struct):
    meta: dict[str, Any] = {}


_only_meta = msgspec.json.Decoder(_OnlyMeta).decode


async def instance(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """GET [type]/[id]/$meta: the resource's meta. Raises FhirError 404 or 410."""
    version = live(request, await ctx.store.read(request.type, request.id))
    assert version.body is not None
    return _return(_only_meta(version.body).meta, version)


async def several(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """GET [type]/$meta, GET $meta: all profiles, labels and tags in use, of a type or of everything.

    It reads every resource; raises TooCostly if that takes longer than FHIR_SEARCH_TIMEOUT.
    """
    deadline = time.monotonic() + ctx.settings.search_timeout
    found: Meta = {}
    async for versions in ctx.store.scan([request.type] if request.type else [], until=await ctx.store.position()):
        for version in versions:
            assert version.body is not None
            found = _union(found, _only_meta(version.body).meta)
        if time.monotonic() > deadline:
            raise TooCostly("There are too many resources to collect their meta in time; ask for one type, or search by _tag")
    return _return(found)


async def add(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """POST [type]/[id]/$meta-add: the profiles, labels and tags given are added. 200 with the new meta."""
    return await _change(ctx, who, request, _union)


async def remove(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """POST [type]/[id]/$meta-delete: the profiles, labels and tags given are taken away. 200 with the new meta."""
    return await _change(ctx, who, request, _without)


async def _change(ctx: Context, who: Identity, request: FhirRequest, how: Callable[[Meta, Meta], Meta]) -> FhirResult:
    given = _given(request)
    turn = (request.type, request.id)
    return await repeated(lambda: _attempt(ctx, who, request, lambda meta: how(meta, given)), RACES, turn)


async def _attempt(ctx: Context, who: Identity, request: FhirRequest, how: Callable[[Meta], Meta]) -> FhirResult:
    current = live(request, await ctx.store.read(request.type, request.id))
    assert current.body is not None
    check_version(current, if_match(request.headers))
    meta = _only_meta(current.body).meta
    if how(meta) == meta:
        return _return(meta, current)
    change, _ = await patched(ctx, current, lambda _, document: {**document, "meta": how(document.get("meta", {}))})
    new = msgspec.structs.replace(change, method="PUT")
    [written] = await write(ctx, who, request, [new], interaction="operation", through=RACES, replaced=(current,))
    assert written.version.body is not None
    result = _return(_only_meta(written.version.body).meta, written.version)
    result.version, result.instant = written.version.version, written.version.instant
    return result


def _given(request: FhirRequest) -> Meta:
    metas = [one.get("valueMeta") for one in read(request) if one.get("name") == "meta"]
    if len(metas) != 1 or not isinstance(metas[0], dict):
        text = "The body must be Parameters with one parameter named meta that has a valueMeta"
        raise bad_request(text, "Parameters.parameter.where(name='meta')", "required")
    return {name: value for name, value in metas[0].items() if name in _LISTS}


def _union(meta: Meta, more: Meta) -> Meta:
    out = dict(meta)
    for name in _LISTS:
        known = list(out.get(name, []))
        seen = {_identity(one) for one in known}
        for one in more.get(name, []):
            if _identity(one) not in seen:
                seen.add(_identity(one))
                known.append(one)
        if known:
            out[name] = known
    return out


def _without(meta: Meta, less: Meta) -> Meta:
    out = dict(meta)
    for name in _LISTS:
        gone = {_identity(one) for one in less.get(name, [])}
        kept = [one for one in out.pop(name, []) if _identity(one) not in gone]
        if kept:
            out[name] = kept
    return out


def _identity(one: object) -> tuple[str, str]:
    """What makes two profiles or codings the same: the URL, or system and code; display and version do not count."""
    if isinstance(one, Mapping):
        return str(one.get("system", "")), str(one.get("code", ""))
    return str(one), ""


def _return(meta: Meta, *told: Version) -> FhirResult:
    return FhirResult(200, (answer("return", "valueMeta", meta),), told=told)
