"""Clauses on custom parameters: their rows are in `idx` and `crow`, not in `packed`, so a document is tested by its rows in `crow`."""

from collections.abc import Sequence
from dataclasses import replace

from search.index import TooCostly
from search.indexes.sqlite.predicates import Predicate, Stream, either, merged
from search.indexes.sqlite.schema import Field


def listed(found: Predicate, field: Field) -> Predicate:
    """A predicate that tests by the same rows that its streams read. Raises TooCostly where it has none."""
    if not found.streams:
        raise TooCostly(
            f"So many alternatives cannot be looked for by {field.code.partition('~')[0]}, which was added to this server."
        )
    parts, args = list[str](), list[object]()
    for test, values in _tests(found.streams):
        parts.append(f"EXISTS (SELECT 1 FROM crow m WHERE m.rid = p.rid AND {test})")
        args += values
    return replace(found, probe=either(parts), args=tuple(args), check=None, on_row=False)


def _tests(streams: Sequence[Stream]) -> list[tuple[str, tuple[object, ...]]]:
    found: list[tuple[str, tuple[object, ...]]] = [
        (f"m.pid = ?{_also(stream.test)}", (stream.pid, *stream.args)) for stream in streams if not stream.point
    ]
    for pid, test, args, values in merged(stream for stream in streams if stream.point):
        marks = ", ".join("?" * len(values))
        found.append((f"m.pid = ? AND m.v IN ({marks}){_also(test)}", (pid, *values, *args)))
    return found


def _also(test: str) -> str:
    return f" AND {test.format('m')}" if test else ""


def presence(field: Field, missing: bool) -> Predicate:
    """Whether a document has the element."""
    test = "EXISTS (SELECT 1 FROM idx x WHERE x.pid = ? AND x.v = 0 AND x.d = p.d AND x.rid = p.rid)"
    return Predicate(9, probe=f"{'NOT ' if missing else ''}{test}", args=(field.there,))
