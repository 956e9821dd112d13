"""Which documents an export has: those of the patients that are asked for, for which a filter holds."""

from collections.abc import AsyncGenerator, Sequence
from collections.abc import Set as AbstractSet

from fhir_server.access.views import findable, stored
from fhir_server.context import Context
from fhir_server.exporting.asked import Asked, in_compartment
from fhir_server.exporting.candidates import Found, behind
from fhir_server.exporting.compartments import Patients, patients_reader
from fhir_server.exporting.deidentified.hiding import Hiding
from fhir_server.exporting.filtering import Filtering, filtering
from fhir_server.exporting.plan import Whole
from fhir_server.exporting.snapshot import in_pieces
from resources.store import Version


class Selection:
    """For one part. `cohort`: the ids of the patients (None: all), `found`: the documents that may be theirs (None: any). `now` is when
    the export was asked for, `hiding` de-identifies what comes out."""

    def __init__(
        self,
        ctx: Context,
        asked: Asked,
        whole: Whole,
        cohort: AbstractSet[str] | None,
        now: int,
        *,
        hiding: Hiding | None = None,
        found: Found | None = None,
    ) -> None:
        self.ctx, self.asked, self.whole, self.hiding = ctx, asked, whole, hiding
        self._cohort, self._now, self._found = cohort, now, found
        self._readers: dict[str, Patients] = {}
        self._filters: dict[str, Filtering | None] = {}

    async def documents(self, type: str, after: int) -> AsyncGenerator[list[Version], None]:
        """What the caller finds of a type as it was at the snapshot, behind a position, in the order of positions: whatever may be
        exported, and perhaps more."""
        until = self.whole.position
        if self._found is None:
            async for versions in self.ctx.store.scan([type], until=until, after=after):
                yield versions
            return
        async for versions in in_pieces(stored(self.ctx), behind(self._found, type, after, until), until):
            yield [version for version in versions if findable(self.ctx, version)]

    async def kept(self, versions: Sequence[Version]) -> list[Version]:
        """Those of the (live) versions of one type that are exported."""
        mine = [version for version in versions if self.of_patients(version)]
        filters = await self.filtering(versions[0].type) if mine else None
        return await filters.kept(mine) if filters is not None else mine

    async def filtering(self, type: str) -> Filtering | None:
        """The filters of a type."""
        if type not in self._filters:
            found = await filtering(self.ctx, self.asked.filters, type, self.asked.base, self._now, self.whole.position)
            self._filters[type] = found.after(self.hiding.version) if found is not None and self.hiding is not None else found
        return self._filters[type]

    def of_patients(self, version: Version) -> bool:
        """Whether a (live) version is in the records that are exported. Of the Patients only those themselves: others lie in their
        compartments by links. Where `patient` names them, what lies in another one's record too is left out."""
        if self.asked.level == "system" and not self.asked.organized:
            return True
        if version.type == "Patient":
            return self._cohort is None or version.id in self._cohort
        patients = self.patients(version)
        if self._cohort is None:
            return bool(patients)
        if self.asked.patients is not None:
            return bool(patients) and all(id in self._cohort for id in patients)
        return any(id in self._cohort for id in patients)

    def patients(self, version: Version) -> tuple[str, ...]:
        """The ids of the patients in whose compartments a (live) version lies."""
        reader = self._readers.get(version.type)
        if reader is None:
            reader = self._readers[version.type] = patients_reader(self.ctx, version.type)
        assert version.body is not None
        return reader(version.id, version.body)

    def in_window(self, version: Version) -> bool:
        """Whether a version is of the types and the time that were asked for."""
        return self.whole.after < version.position <= self.whole.until and version.type in self.whole.types

    def about_patients(self, type: str) -> bool:
        """Whether documents of the type lie in records: of accesses only where they are exported too."""
        return in_compartment(self.ctx, type) and (type != "AuditEvent" or type in self.whole.types)
