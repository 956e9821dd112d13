"""Which row of the REST table a method and a path mean. The table itself is `fhir_server/routes.py`.

A path is turned into its pattern ("Patient/1" into "[type]/[id]") by the place and the first letter of each part, so that finding
a row is two dictionary look-ups.
"""

import difflib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import unquote

from fhir_server.messages import FhirRequest, FhirResult, Identity
from resources.outcomes import FhirError, bad_request, error, not_found

if TYPE_CHECKING:
    from fhir_server.context import Context

Handler = Callable[["Context", Identity, FhirRequest], Awaitable[FhirResult]]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
"""ASGI: gives the next message of the request."""

Body = Literal["none", "fhir", "patch", "form"]

APPEND_ONLY = frozenset(("AuditEvent",))
"""Resource types that can be created and read but never changed or deleted: the record of accesses only grows."""

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the REST table.

    `interaction` is a code of http://hl7.org/fhir/restful-interaction, or "operation"; what is recorded of a row follows from it
    (`fhir_server/audit.py`). `pattern` is the path below the base: literal parts, `[type]`, `[id]`, `[vid]`, `[compartment]`. `body`
    tells which request bodies are taken. `types` limits the row to these resource types. `alters`: the row changes or deletes what
    exists. `conditional`: the row acts on what a query string finds. `definition` is the canonical of an operation's
    OperationDefinition. A row that is not `offered` only tells why.
    """

    method: str
    pattern: str
    interaction: str
    handler: Handler
    body: Body = "none"
    types: tuple[str, ...] = ()
    alters: bool = False
    conditional: bool = False
    offered: bool = True
    definition: str = ""

    @property
    def label(self) -> str:
        """The name in metrics and logs: `read`, or `$validate`."""
        return self.pattern.rpartition("/")[2] if self.interaction == "operation" else self.interaction


class Match(NamedTuple):
    """A row, and the decoded parts that the path named."""

    route: Route
    type: str = ""
    id: str = ""
    version: str = ""
    operation: str = ""


class Router:
    """The rows of the table, found by method and path."""

    def __init__(self, routes: Iterable[Route], types: Sequence[str]) -> None:
        self.routes: tuple[Route, ...] = tuple(routes)
        self.types = frozenset(types)
        self._rows: dict[str, dict[str, list[Route]]] = {}
        for route in self.routes:
            self._rows.setdefault(route.pattern, {}).setdefault(route.method, []).append(route)

    def find(self, method: str, path: str) -> Match:
        """The row for `method` and `path` (below the base, undecoded, without query). HEAD finds the row of GET.

        Raises FhirError 404 for a path that is not part of the API, an unknown resource type or (reading) an id that is none, 400 for
        writing under such an id, 405 with Allow for a method that the path does not have.
        """
        parts = path.strip("/").split("/") if path else [""]
        pattern, names = self._pattern(parts, path)
        if names.type and names.type not in self.types:
            raise self._unknown_type(names.type)
        by_method = self._rows.get(pattern)
        if by_method is None:
            raise self._unknown_path(path, parts)
        if names.id and _ID.fullmatch(names.id) is None:
            raise _no_id(method, names.id)
        wanted = "GET" if method == "HEAD" else method
        for route in by_method.get(wanted, ()):
            if not route.types or names.type in route.types:
                return Match(route, *names)
        raise self._not_here(method, path, by_method, names.type)

    def _pattern(self, parts: list[str], path: str) -> tuple[str, "_Names"]:
        first = parts[0]
        if not first or first[0] in "_$" or first == "metadata":
            return "/".join(parts), _Names("", "", "", first if first[:1] == "$" else "")
        if "%" in path:
            parts = [unquote(part) for part in parts]
        count = len(parts)
        if count == 2 and parts[1][:1] not in ("_", "$"):
            return "[type]/[id]", _Names(parts[0], parts[1])
        if count == 1:
            return "[type]", _Names(parts[0])
        return self._long_pattern(parts)

    @staticmethod
    def _long_pattern(parts: list[str]) -> tuple[str, "_Names"]:
        pattern, id, version, operation = ["[type]"], "", "", ""
        for place, part in enumerate(parts[1:], start=1):
            if part[:1] == "$":
                operation = part
            if not part:
                return "[unknown]", _Names(parts[0])
            if part[0] in "_$":
                pattern.append(part)
            elif place == 1:
                id = part
                pattern.append("[id]")
            elif place == 3 and pattern[-1] == "_history":
                version = part
                pattern.append("[vid]")
            elif place == 2:
                operation = part
                pattern.append("[compartment]")
            else:
                return "[unknown]", _Names(parts[0])
        return "/".join(pattern), _Names(parts[0], id, version, operation)

    def _unknown_type(self, name: str) -> FhirError:
        close = difflib.get_close_matches(name[:64], self.types, n=1, cutoff=0.6)
        exact = next((t for t in self.types if t.lower() == name.lower()), None)
        hint = exact or (close[0] if close else None)
        text = f"{shown(name)} is not a resource type of FHIR R4"
        return error(404, "not-supported", f"{text}; did you mean {hint}?" if hint else text)

    def _unknown_path(self, path: str, parts: list[str]) -> FhirError:
        last = unquote(parts[-1])
        if last[:1] == "$":
            known = sorted({p.rpartition("/")[2] for p in self._rows if "$" in p})
            return not_found(f"There is no operation {shown(last)} here; this server has {', '.join(known)}")
        return not_found(f"There is nothing at {shown(path)}; see [base]/metadata for what this server offers")

    @staticmethod
    def _not_here(method: str, path: str, rows: Mapping[str, list[Route]], type: str) -> FhirError:
        methods = [name for name, routes in rows.items() if any(not r.types or type in r.types for r in routes)]
        if not methods:
            types = sorted({t for routes in rows.values() for r in routes for t in r.types})
            return not_found(f"{shown(path.rpartition('/')[2])} is not offered for {type}, only for {', '.join(types)}")
        allowed = [*methods, "HEAD"] if "GET" in methods else methods
        return not_allowed(f"{method[:16]} is not possible at {shown(path)}; possible: {', '.join(allowed)}", allowed)


class _Names(NamedTuple):
    type: str
    id: str = ""
    version: str = ""
    operation: str = ""


def valid_id(text: str) -> bool:
    """Whether `text` is a FHIR id (https://hl7.org/fhir/R4/datatypes.html#id)."""
    return _ID.fullmatch(text) is not None


def _no_id(method: str, id: str) -> FhirError:
    text = f"{shown(id)} is not a valid id: 1 to 64 letters, digits, '-' and '.' (A-Z, a-z, 0-9)"
    return not_found(text) if method in ("GET", "HEAD") else bad_request(text, "id", "value")


def shown(text: str) -> str:
    """A part of a request as an error text may repeat it: printable and short."""
    clean = "".join(c if c.isprintable() else "?" for c in text[:64])
    return f"'{clean}…'" if len(text) > 64 else f"'{clean}'"


def append_only(type: str) -> FhirError:
    """405 for a change of what can only grow."""
    return not_allowed(f"{type}s cannot be changed or deleted; they can only be created and read", ("GET", "HEAD"))


def not_allowed(text: str, allowed: Iterable[str]) -> FhirError:
    """405 with the methods that would be possible."""
    return error(405, "not-supported", text, Allow=", ".join(allowed))
