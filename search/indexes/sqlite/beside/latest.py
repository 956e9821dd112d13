"""The latest documents of each code: `Observation/$lastn` from index rows alone."""

from collections.abc import Iterator

from resources.store import Key
from search.index import Latest, TooCostly
from search.indexes.latest import latest_of
from search.indexes.sqlite.compile import compile_query
from search.indexes.sqlite.links import Linker
from search.indexes.sqlite.pages import keys_of
from search.indexes.sqlite.plan import make_plan, union
from search.indexes.sqlite.reader import Reader
from search.indexes.sqlite.rows import unpack
from search.indexes.sqlite.schema import FOLDED, NORMAL, Codebook
from search.parameter import SearchParameter
from search.query import Query

MOST = 50_000
"""Documents that are looked through at once."""

_CHUNK = 500

Found = tuple[int, int, tuple[tuple[str, int], ...]]
"""Row, date, and codes with the numbers of their systems."""


def latest(reader: Reader, codes: Codebook, query: Query, by: SearchParameter, most: int) -> Latest:
    """See `search.index.SearchIndex`. Inside a transaction of the reader."""
    predicates = compile_query(query, codes, reader.any_of, Linker(reader, codes, query.allowed))
    if predicates is None:
        return Latest([], [])
    plan = make_plan(reader, codes.books[query.type], predicates, counted=True)
    if not plan.sources:
        return Latest([], [])
    text, args = union(plan)
    places: list[tuple[int, int]] = reader.rows(f"SELECT d, rid FROM ({text}) LIMIT ?", [*args, MOST + 1])
    if len(places) > MOST:
        raise TooCostly(f"More than {MOST} documents would have to be looked through. Narrow the search, for instance by date.")
    field = codes.field(by)
    groups, apart = latest_of(_coded(reader, sorted(places, reverse=True), (field.pid + NORMAL, field.pid + FOLDED)), most)
    return Latest([_keys(reader, query.type, group) for group in groups], _keys(reader, query.type, apart))


def _coded(reader: Reader, places: list[tuple[int, int]], pids: tuple[int, int]) -> Iterator[Found]:
    for start in range(0, len(places), _CHUNK):
        reader.on_time()
        part = places[start : start + _CHUNK]
        marks = ", ".join("?" * len(part))
        blobs = dict(reader.rows(f"SELECT rid, rows FROM packed WHERE rid IN ({marks})", [rid for _, rid in part]))
        for d, rid in part:
            flat = unpack(blobs[rid])  # the date, then pid, v and w of each row: taking them apart would take longer
            yield rid, d, tuple([(flat[i + 1], flat[i + 2]) for i in range(1, len(flat), 3) if flat[i] in pids and flat[i + 1]])


def _keys(reader: Reader, type: str, rids: list[int]) -> list[Key]:
    return [key for start in range(0, len(rids), _CHUNK) for key in keys_of(reader, type, rids[start : start + _CHUNK])]
