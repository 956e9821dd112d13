"""Includes by canonical URLs: the documents that others name so, and those that name them."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from resources.store import Key
from search.indexes.sqlite.access import Access
from search.indexes.sqlite.rows import Row
from search.indexes.sqlite.schema import Book
from search.parameter import Canonical, SearchParameter
from search.types.canonical import Name, answers, names
from search.values import hash64

_CHUNK = 200
_NEWEST = " ORDER BY p.d DESC, p.rid DESC LIMIT ?"


def named(
    access: Access, parameter: SearchParameter, target: str | None, documents: Iterable[Sequence[Row]], most: int
) -> Iterator[Key]:
    """What documents, each given by its packed rows, name by the parameter: of each type the newest `most` that `access` leaves."""
    pid = access.codes.field(parameter).pid
    asked = list(dict.fromkeys(name for rows in documents for name in names(v for at, v, _ in rows if at == pid)))
    for canonical in parameter.canonicals if asked else ():
        if target in (None, canonical.type):
            for start in range(0, len(asked), _CHUNK):
                yield from _of_type(access, canonical, asked[start : start + _CHUNK], most)


def _of_type(access: Access, canonical: Canonical, asked: Sequence[Name], most: int) -> Iterator[Key]:
    book, url, version = access.codes.books[canonical.type], *(access.codes.field(each).pid for each in canonical)
    tests = access.tests(book)
    if tests is None or not access.reader.any_of(url):
        return
    left, values = tests
    any_version = [hash64(name) for name, number in asked if not number]
    one_version = [(hash64(name), hash64(number)) for name, number in asked if number]
    if any_version:
        marks = ", ".join("?" * len(any_version))
        found = f"SELECT p.d, p.rid FROM idx p WHERE p.pid = ? AND p.v IN ({marks}){left}"
        yield from _keys(access, book, found, (url, *any_version, *values), most)
    if one_version:
        marks = ", ".join(["(?, ?)"] * len(one_version))
        found = (
            f"SELECT p.d, p.rid FROM (VALUES {marks}) asked CROSS JOIN idx p WHERE p.pid = ? AND p.v = asked.column1 AND EXISTS"
            f" (SELECT 1 FROM idx x WHERE x.pid = ? AND x.v = asked.column2 AND x.d = p.d AND x.rid = p.rid){left}"
        )
        yield from _keys(access, book, found, (*(each for pair in one_version for each in pair), url, version, *values), most)


def _keys(access: Access, book: Book, found: str, args: Sequence[object], most: int) -> list[Key]:
    sql = f"SELECT q.rid, i.id FROM ({found}{_NEWEST}) q CROSS JOIN item i ON i.rid = q.rid"
    return [Key(book.name, id, rid) for rid, id in access.reader.rows(sql, [*args, most])]


def naming(access: Access, parameter: SearchParameter, documents: Iterable[tuple[Key, Sequence[Row]]], most: int) -> Iterator[Key]:
    """What names one of the documents, each given with its packed rows, by the parameter: of each the newest `most` that are left."""
    book, pid = access.codes.books[parameter.type], access.codes.field(parameter).pid
    tests = access.tests(book)
    if tests is None or not access.reader.any_of(pid):
        return
    left, values = tests
    found = "SELECT p.d, p.rid FROM idx p WHERE p.pid = ? AND p.v = ?"
    whole = f"{found} AND fhir_check(?, (SELECT k.rows FROM packed k WHERE k.rid = p.rid)){left}"
    for name in dict.fromkeys(name for key, rows in documents for name in _answers(access, parameter, key, rows)):
        url, version = name
        if version:
            yield from _keys(access, book, f"{found}{left}", (pid, hash64(f"{url}|{version}"), *values), most)
            continue
        check = access.reader.keep(partial(_names, pid, name))  # a document that names a version has a row of the URL alone as well
        for text in (url, f"{url}|"):
            yield from _keys(access, book, whole, (pid, hash64(text), check, *values), most)


def _names(pid: int, name: Name, rows: Iterable[Row]) -> bool:
    return name in names(v for at, v, _ in rows if at == pid)


def _answers(access: Access, parameter: SearchParameter, key: Key, rows: Sequence[Row]) -> Iterator[Name]:
    for canonical in parameter.canonicals:
        if canonical.type == key.type:
            url, version = (access.codes.field(each).pid for each in canonical)
            yield from answers((v for at, v, _ in rows if at == url), [v for at, v, _ in rows if at == version])
