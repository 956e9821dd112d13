"""Which Provenances an export has (https://hl7.org/fhir/uv/bulkdata/STU2/export.html#query-parameters, `includeAssociatedData`).

Without that parameter: at the level of the system all, below a patient those of what lies in the records. With it those of the
documents that are exported, or of each the latest one.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from fhir_server.access.consents import local
from fhir_server.exporting.finding import Since, found_in_turn, provenances_query
from fhir_server.exporting.selecting import Selection
from fhir_server.exporting.snapshot import at_position
from fhir_server.searching.depending import is_late
from resources.documents import decoder_of
from resources.ids import valid_id
from resources.store import Key, StoreUnavailable, Version
from search.types.date import interval

_AT_ONCE = 200
_read = decoder_of(("target", "recorded"))


class Provenances:
    """Chooses among the Provenances of a part as `Selection` does among other documents."""

    def __init__(self, selection: Selection) -> None:
        self._selection, self._ctx, self._asked = selection, selection.ctx, selection.asked
        self._since = Since(self._ctx, ["Provenance"], selection.whole.position)
        self._changed: dict[Key, dict[Key, None]] = {}
        self._bases = (*selection.ctx.settings.bases, selection.asked.base)

    async def kept(self, versions: Sequence[Version]) -> list[Version]:
        """Those of the (live) versions that are exported. Raises StoreUnavailable."""
        if not self._asked.provenance and self._asked.level == "system":
            return await self._selection.kept(versions)
        targets = {version.id: self._targets(version) for version in versions}
        wanted = await self._wanted({key for keys in targets.values() for key in keys})
        if self._asked.provenance == "latest" and wanted:
            latest = await self._latest(wanted)
            found = [version for version in versions if version.id in latest]
        else:
            found = [version for version in versions if not wanted.isdisjoint(targets[version.id])]
        filters = await self._selection.filtering("Provenance")
        return await filters.kept(found) if filters is not None else found

    def _targets(self, version: Version) -> list[Key]:
        assert version.body is not None
        return self._named(_read(version.body))

    def _named(self, document: dict[str, Any]) -> list[Key]:
        names = (local(each.get("reference", ""), self._bases).partition("/") for each in document.get("target", ()))
        return [Key(type, id) for type, _, id in names if type in self._ctx.routes.types and valid_id(id)]

    async def _wanted(self, keys: Iterable[Key]) -> set[Key]:
        """Those of the documents that are exported; without `includeAssociatedData` those that lie in the records."""
        found = set[Key]()
        by_type: dict[str, list[Key]] = {}
        for key in keys:
            by_type.setdefault(key.type, []).append(key)
        for type, of_type in by_type.items():
            if type != "Provenance" and (self._asked.level == "system" or self._selection.about_patients(type)):
                versions = await at_position(self._ctx.store, of_type, self._selection.whole.position)
                found.update(Key(each.type, each.id) for each in await self._exported(versions))
        return found

    async def _exported(self, versions: Sequence[Version]) -> list[Version]:
        if not self._asked.provenance:
            return [version for version in versions if self._selection.of_patients(version)]
        return await self._selection.kept([version for version in versions if self._selection.in_window(version)])

    async def _latest(self, targets: set[Key]) -> set[str]:
        """The ids of the latest Provenance of each of these documents."""
        best: dict[Key, tuple[int, int, str]] = {}
        listed = sorted(targets, key=lambda key: (key.type, key.id))
        for start in range(0, len(listed), _AT_ONCE):
            for version in await self._about(listed[start : start + _AT_ONCE]):
                assert version.body is not None
                document = _read(version.body)
                recorded = interval(str(document.get("recorded", "")))
                mine = (recorded.low if recorded else 0, version.position, version.id)
                for key in self._named(document):
                    if key in targets:
                        best[key] = max(best.get(key, mine), mine)
        return {id for _, _, id in best.values()}

    async def _about(self, targets: Sequence[Key]) -> list[Version]:
        """The Provenances at the snapshot whose targets are these."""
        names = [f"{key.type}/{key.id}" for key in targets]
        query, position = provenances_query(self._ctx, names, self._asked.base), self._selection.whole.position
        if await is_late(self._ctx, (query,), position=position):
            raise StoreUnavailable("The search index has not caught up with what is to be exported")
        keys = {key: None async for some in found_in_turn(self._ctx, [query]) for key in some}
        await self._follow()  # after the search, which tells of what is now
        for target in targets:
            keys |= self._changed.get(target, {})
        return await at_position(self._ctx.store, list(keys), position)

    async def _follow(self) -> None:
        """Take in what was changed since the snapshot: by the documents that it was about then."""
        async for keys in self._since.fresh():
            for version in await at_position(self._ctx.store, list(dict.fromkeys(keys)), self._selection.whole.position):
                for target in self._targets(version):
                    self._changed.setdefault(target, {})[Key(version.type, version.id)] = None
