"""Where the tables of a statement come from: a store, or an export. What a statement names of them becomes Parquet files."""

import os
import pwd
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlencode

from fhir_server.audit import Audit
from fhir_server.messages import FhirRequest, Identity
from fhir_server.views.recording import LONGEST_TOLD, Record
from fhir_server.views.running import Run
from fhir_server.views.sql.exports import Export
from fhir_server.views.sql.statement import Statement
from fhir_server.views.sql.tables import Offered, stored_views, write_view
from resources.store import ResourceStore

Tables = dict[str, list[Path]]
"""Name of a table -> the Parquet files that it is."""


class Listed(NamedTuple):
    """A table that there is: its name, where it is from, the names of its columns."""

    name: str
    origin: str
    columns: Sequence[str]


class Source(Protocol):
    """Where tables come from."""

    async def listed(self) -> tuple[list[Listed], list[str]]:
        """The tables that there are, and sentences about what is none. Raises StoreUnavailable."""

    async def prepared(self, statement: Statement, scratch: Path) -> Tables:
        """Those that the statement names, made in the folder `scratch`. Raises Unusable, FhirError, StoreUnavailable, OSError."""


class FromStore:
    """Views over the documents of a store, all of one moment, and a record of who asked what. `views`: those of files, which hide stored
    ones of the same name."""

    def __init__(
        self, store: ResourceStore, audit: Audit, clock: Callable[[], int], bases: Collection[str], views: Sequence[Offered]
    ) -> None:
        self._store, self._audit, self._clock, self._bases, self._views = store, audit, clock, bases, views

    async def listed(self) -> tuple[list[Listed], list[str]]:
        """See Source."""
        views, left = await self._all()
        return [Listed(each.name, each.origin, [column.name for column in each.view.columns]) for each in views.values()], left

    async def _all(self) -> tuple[dict[str, Offered], list[str]]:
        stored, left = await stored_views(self._store)
        return {each.name.lower(): each for each in (*stored, *self._views)}, left

    async def prepared(self, statement: Statement, scratch: Path) -> Tables:
        """See Source."""
        views, _ = await self._all()
        named = [views[name] for name in sorted(statement.tables) if name in views]
        record = self._record(statement, named)
        if named:
            await record.keep()
        until, made = await self._store.position(), Tables()
        for each in named:
            made[each.name] = [scratch / f"{each.name}.parquet"]
            await write_view(Run(each.view, self._store, until, record=record), made[each.name][0])
        return made

    def _record(self, statement: Statement, named: Sequence[Offered]) -> Record:
        """The AuditEvents: the statement, the views that it names, the types that these are of, the patients whom rows tell of."""
        told = [("view", each.origin if _is_stored(each) else each.name) for each in named]
        told += [("resource-type", type) for type in sorted({each.view.resource for each in named})]
        text = statement.text.encode()
        if len(text) > LONGEST_TOLD:
            told.append(("statement-sha256", sha256(text).hexdigest()))
        told.append(("statement", text[:LONGEST_TOLD].decode("utf-8", "ignore")))
        touched = [each.origin for each in named if _is_stored(each)]
        who, request = Identity(client=f"fhir-server sql: {_person()}"), FhirRequest("POST", "$sql", urlencode(told))
        return Record(self._store, self._audit, self._clock, self._bases, who, request, touched)


def _person() -> str:
    """Who runs this process, as the operating system knows them."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _is_stored(view: Offered) -> bool:
    return view.origin.startswith("ViewDefinition/")


class FromExport:
    """The files of an export, and views of files over them."""

    def __init__(self, export: Export, views: Sequence[Offered]) -> None:
        self._export, self._views = export, {each.name.lower(): each for each in views}

    async def listed(self) -> tuple[list[Listed], list[str]]:
        """See Source."""
        found = [Listed(each.name, each.origin, [column.name for column in each.view.columns]) for each in self._views.values()]
        for name, files in sorted(self._export.tables.items()):
            found.append(Listed(name, ", ".join(file.name for file in files), self._export.columns(name)))
        return found, []

    async def prepared(self, statement: Statement, scratch: Path) -> Tables:
        """See Source."""
        made = Tables()
        for name, view in self._views.items():
            if name in statement.tables:
                made[view.name] = [scratch / f"{name}.view.parquet"]
                await self._export.view_as_parquet(view.view, made[view.name][0])
        for name in self._export.tables:
            if name.lower() in statement.tables and name.lower() not in self._views:
                made[name] = await self._export.as_parquet(name, scratch)
        return made
