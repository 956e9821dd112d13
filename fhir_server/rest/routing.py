"""Which row of the REST table a method and a path mean. The table itself is `fhir_server/routes.py`.

A path is turned into its pattern ("Patient/1" into "[type]/[id]") by the place and the first letter of each part, so that finding
a row is two dictionary look-ups.
"""

import difflib
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from urllib.parse import unquote

from fhir_server.messages import Handler
from resources.ids import valid_id
from resources.outcomes import FhirError, bad_request, error, not_allowed, not_found, shown

C = TypeVar("C")
"""What the handlers of a table work with."""

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
"""ASGI: gives the next message of the request."""

Body = Literal["none", "fhir", "patch", "form"]


@dataclass(frozen=True, slots=True)
class Route(Generic[C]):
    """One row of the REST table.

    `interaction` is a code of http://hl7.org/fhir/restful-interaction, or "operation"; what is recorded of a row follows from it
    (`fhir_server/audit.py`). `pattern` is the path below the base: literal parts, `[type]`, `[id]`, `[vid]`, `[compartment]`. `body`
    tells which request bodies are taken. `access` is what a caller needs, in the letters of SMART scopes
    (https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html): c create, r read, u update, d delete, s search; "" where the
    row itself gives nothing away (a Bundle's entries each need what their own rows say). `types` limits the row to these resource
    types. `conditional`: the row acts on what a query string finds. `definition` is the canonical of an operation's
    OperationDefinition, `also` further names by which the CapabilityStatement lists it. `administers`: the row changes how the server
    works, which needs an administrator. `any_format`: it answers in other formats than JSON too, and looks at Accept and `_format`
    itself.
    """

    method: str
    pattern: str
    interaction: str
    handler: Handler[C]
    body: Body = "none"
    access: str = ""
    types: tuple[str, ...] = ()
    conditional: bool = False
    definition: str = ""
    also: tuple[str, ...] = ()
    administers: bool = False
    any_format: bool = False

    @property
    def alters(self) -> bool:
        """Whether the row changes or deletes what exists."""
        return "u" in self.access or "d" in self.access

    @property
    def label(self) -> str:
        """The name in metrics and logs: `read`, or `$validate`."""
        if self.interaction != "operation":
            return self.interaction
        return next(part for part in reversed(self.pattern.split("/")) if part[:1] == "$")


class Match(NamedTuple, Generic[C]):
    """A row, and the decoded parts that the path named."""

    route: Route[C]
    type: str = ""
    id: str = ""
    version: str = ""
    operation: str = ""


class Router(Generic[C]):
    """The rows of the table, found by method and path."""

    def __init__(self, routes: Iterable[Route[C]], types: Sequence[str]) -> None:
        self.routes: tuple[Route[C], ...] = tuple(routes)
        self.types = frozenset(types)
        self._rows: dict[str, dict[str, list[Route[C]]]] = {}
        for route in self.routes:
            self._rows.setdefault(route.pattern, {}).setdefault(route.method, []).append(route)

    def find(self, method: str, path: str) -> Match[C]:
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
        if names.id and not valid_id(names.id):
            raise _no_id(method, names.id)
        wanted = "GET" if method == "HEAD" else method
        for route in by_method.get(wanted, ()):
            if not route.types or names.type in route.types:
                return Match(route, *names)
        raise self._not_here(method, path, by_method, names.type)

    def _pattern(self, parts: list[str], path: str) -> tuple[str, "_Names"]:
        first = parts[0]
        if first[:1] == "$":
            return _below_operation(parts)
        if not first or first[0] == "_" or first == "metadata":
            return "/".join(parts), _Names("")
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
            places = [p for p in self._rows if p.rpartition("/")[2] == last]
            if places:
                return not_found(f"{shown(last)} is not offered here, only at {' and '.join(f'[base]/{p}' for p in places)}")
            known = sorted({part for p in self._rows for part in p.split("/") if part[:1] == "$"})
            return not_found(f"There is no operation {shown(last)} here; this server has {', '.join(known)}")
        return not_found(f"There is nothing at {shown(path)}; see [base]/metadata for what this server offers")

    @staticmethod
    def _not_here(method: str, path: str, rows: Mapping[str, list[Route[C]]], type: str) -> FhirError:
        methods = [name for name, routes in rows.items() if any(not r.types or type in r.types for r in routes)]
        if not methods:
            types = sorted({t for routes in rows.values() for r in routes for t in r.types})
            return not_found(f"{shown(path.rpartition('/')[2])} is not offered at {shown(path)}, only for {', '.join(types)}")
        allowed = [*methods, "HEAD"] if "GET" in methods else methods
        return not_allowed(f"{method[:16]} is not possible at {shown(path)}; possible: {', '.join(allowed)}", allowed)


class _Names(NamedTuple):
    type: str
    id: str = ""
    version: str = ""
    operation: str = ""


def _below_operation(parts: list[str]) -> tuple[str, _Names]:
    """`$operation`, `$operation/[id]`, `$operation/[id]/[file]`: the file is told as the version."""
    names = _Names("", unquote(parts[1]) if len(parts) > 1 else "", unquote(parts[2]) if len(parts) > 2 else "", parts[0])
    if len(parts) > 3 or not all(parts):
        return "[unknown]", names
    return "/".join((parts[0], "[id]", "[file]")[: len(parts)]), names


def _no_id(method: str, id: str) -> FhirError:
    text = f"{shown(id)} is not a valid id: 1 to 64 letters, digits, '-' and '.' (A-Z, a-z, 0-9)"
    return not_found(text) if method in ("GET", "HEAD") else bad_request(text, "id", "value")
