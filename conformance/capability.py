"""The CapabilityStatement (https://hl7.org/fhir/R4/capabilitystatement.html), built of what the server really has.

Plain arguments in, a document out: the REST table's rows, the search parameters, the settings. Nothing is claimed by hand.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

FHIR_VERSION = "4.0.1"

_RESOURCE_CODES = ("read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type")
_SYSTEM_CODES = ("transaction", "batch", "search-system", "history-system")

Json = dict[str, Any]


class Row(Protocol):
    """A row of the REST table: a code of http://hl7.org/fhir/restful-interaction or "operation", where it is, for which types.

    `pattern` is the path below the base (`[type]/[id]/$everything`), `types` limit the row to some types (empty: all),
    `conditional` rows act on what a query finds, `definition` is the canonical URL of an operation's OperationDefinition, `also` are
    further names that the operation is listed by.
    """

    @property
    def method(self) -> str: ...
    @property
    def pattern(self) -> str: ...
    @property
    def interaction(self) -> str: ...
    @property
    def types(self) -> tuple[str, ...]: ...
    @property
    def conditional(self) -> bool: ...
    @property
    def definition(self) -> str: ...
    @property
    def also(self) -> tuple[str, ...]: ...


class Parameter(Protocol):
    """A search parameter of one resource type: its code, type (`kind`), canonical URL, whether `_include` can
    follow it, and the types that this may lead to (none: any)."""

    @property
    def code(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def included(self) -> bool: ...
    @property
    def ends(self) -> tuple[str, ...]: ...


def build(
    *,
    interactions: Iterable[Row],
    operations: Iterable[Row],
    resource_types: Sequence[str],
    search_parameters: Mapping[str, Iterable[Parameter]],
    base_url: str,
    version: str,
    date: str,
    formats: Sequence[str] = ("application/fhir+json", "json"),
    patch_formats: Sequence[str] = ("application/json-patch+json", "application/fhir+json"),
    security: Json | None = None,
    compartments: Sequence[str] = (),
    everywhere: Mapping[str, str] = {},
    conditional_delete: str = "single",
    instantiates: Sequence[str] = (),
    reference_policy: Sequence[str] = ("literal", "logical"),
    title: str = "FHIR R4 server",
) -> Json:
    """The CapabilityStatement of this instance, a valid R4 document.

    `search_parameters`: resource type -> its parameters. `base_url`: the FHIR base without a slash at the end. `date`: FHIR dateTime
    of the last change of capabilities. `security`: CapabilityStatement.rest.security. `compartments`: canonical URLs.
    `instantiates`: canonical URLs of the CapabilityStatements that this one fulfils.
    `everywhere`: parameters of every type that no SearchParameter defines, and what each finds. Operations without a definition are
    not listed: nobody begins with them.
    """
    rows, ops = tuple(interactions), tuple(operations)
    parameters = {name: sorted(search_parameters.get(name, ()), key=lambda p: p.code) for name in resource_types}
    reverse = _reverse_includes(parameters)
    policy = {"conditionalDelete": conditional_delete, "referencePolicy": list(reference_policy)}
    rest: Json = {"mode": "server"}
    if security is not None:
        rest["security"] = security
    rest["resource"] = [_resource(name, rows, ops, parameters[name], reverse.get(name, []), policy) for name in resource_types]
    rest["interaction"] = [{"code": code} for code in _SYSTEM_CODES if code in _system_codes(rows)]
    _put(rest, "searchParam", [{"name": n, "type": "special", "documentation": text} for n, text in sorted(everywhere.items())])
    _put(rest, "operation", _operations(ops, ""))
    _put(rest, "compartment", list(compartments))
    return {
        "resourceType": "CapabilityStatement",
        "url": f"{base_url}/metadata",
        "version": version,
        "name": "FhirServer",
        "title": title,
        "status": "active",
        "date": date,
        "kind": "instance",
        **({"instantiates": list(instantiates)} if instantiates else {}),
        "software": {"name": "fhir-server", "version": version},
        "implementation": {"description": title, "url": base_url},
        "fhirVersion": FHIR_VERSION,
        "format": list(formats),
        "patchFormat": list(patch_formats),
        "rest": [rest],
    }


def _resource(
    name: str, rows: Sequence[Row], operations: Sequence[Row], parameters: Sequence[Parameter], reverse: list[str], policy: Json
) -> Json:
    codes = {row.interaction for row in rows if "[type]" in row.pattern and _applies(row, name)}
    conditional = {row.interaction for row in rows if row.conditional and _applies(row, name)}
    found: Json = {
        "type": name,
        "profile": f"http://hl7.org/fhir/StructureDefinition/{name}",
        "interaction": [{"code": code} for code in _RESOURCE_CODES if code in codes],
        "versioning": "versioned",
        "readHistory": "vread" in codes,
        "updateCreate": "update" in codes,
        "conditionalCreate": "create" in codes,
        "conditionalRead": "full-support" if "read" in codes else "not-supported",
        "conditionalUpdate": "update" in conditional,
        "conditionalDelete": policy["conditionalDelete"] if "delete" in conditional else "not-supported",
        "referencePolicy": policy["referencePolicy"],
    }
    if "search-type" in codes:
        includes = [f"{name}:{p.code}" for p in parameters if p.included]
        _put(found, "searchInclude", includes)
        _put(found, "searchRevInclude", reverse)
        _put(found, "searchParam", [{"name": p.code, "definition": p.url, "type": p.kind} for p in parameters])
    _put(found, "operation", _operations(operations, name))
    return found


def _applies(row: Row, name: str) -> bool:
    return not row.types or name in row.types


def _operations(rows: Sequence[Row], name: str) -> list[Json]:
    """The operations of a resource type, or of the system ("")."""
    found: dict[str, Json] = {}
    for row in rows:
        if ("[type]" in row.pattern) is not bool(name) or (name and not _applies(row, name)):
            continue
        code = row.pattern.rpartition("$")[2]
        if row.definition:
            for named in (code, *row.also):
                found.setdefault(named, {"name": named, "definition": row.definition})
    return [found[code] for code in sorted(found)]


def _system_codes(rows: Sequence[Row]) -> set[str]:
    codes = {row.interaction for row in rows if "[type]" not in row.pattern}
    return codes | {"transaction"} if "batch" in codes else codes  # one row takes both kinds of Bundle


def _reverse_includes(parameters: Mapping[str, Sequence[Parameter]]) -> dict[str, list[str]]:
    """Resource type -> the reference parameters (`Observation:subject`) that may point to it; without targets, to every type."""
    found: dict[str, list[str]] = {}
    for source, of_source in parameters.items():
        for parameter in of_source:
            if parameter.included:
                for target in parameter.ends or parameters:
                    found.setdefault(target, []).append(f"{source}:{parameter.code}")
    return found


def _put(holder: Json, name: str, values: list[Any]) -> None:
    """Add a list if it holds something: FHIR has no empty arrays."""
    if values:
        holder[name] = values
