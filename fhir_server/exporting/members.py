"""The patients of a Group (https://hl7.org/fhir/R4/group.html), as they are when the export is planned.

Members are Patients, and Groups of such; inactive ones and those whose period is not now do not count. A `member-filter`
(https://hl7.org/fhir/uv/bulkdata/StructureDefinition-bulk-cohort-group.html) keeps those members who, or whose compartments, match a
search; without members it is asked of all patients. A Group that tells its members by `characteristic` alone is refused: what a
characteristic means in documents is for people to say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fhir_server.access.consents import local, period_of
from fhir_server.access.refusals import insufficient
from fhir_server.access.views import stored
from fhir_server.context import Context
from fhir_server.exporting.asked import in_compartment
from fhir_server.exporting.compartments import patients_reader
from fhir_server.exporting.filtering import SHAPING, Filter, parsed_filter
from fhir_server.messages import Identity
from fhir_server.searching.depending import is_late
from fhir_server.searching.into import searchable
from resources.documents import decode
from resources.ids import valid_id
from resources.names import Names
from resources.outcomes import FhirError, bad_request, gone, not_found
from resources.store import ResourceStore, StoreUnavailable
from search.query import Query
from smart_auth.clients import find_client
from smart_auth.scopes import ResourceScope, parse_scopes

FILTER = "http://hl7.org/fhir/uv/bulkdata/StructureDefinition/member-filter"
QUERIES = "application/x-fhir-query"

MOST_GROUPS = 1_000
"""Groups that one may be made of."""

_PAGE = 1_000

Json = Mapping[str, Any]


@dataclass(slots=True)
class Members:
    """Patients as they are found. `groups` is where Groups are read (`group_store`), `base` the FHIR base that was asked at, `now`
    the moment (microseconds since the epoch). `notes` tell what was left out."""

    ctx: Context
    groups: ResourceStore
    base: str
    now: int
    notes: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    async def of(self, id: str) -> Names:
        """The ids of the Group's patients. Raises FhirError 404 or 410 where it is not there, 400 where its members cannot be told;
        StoreUnavailable."""
        return await self._of(id, await read_group(self.groups, id))

    async def _of(self, id: str, group: Json) -> Names:
        self._seen.add(id)
        if len(self._seen) > MOST_GROUPS:
            raise bad_request(f"The Group is made of more than {MOST_GROUPS} Groups", code="too-costly")
        found = await self._members(id, group.get("member", ()))
        filters = filters_of(self.ctx, id, group, self.base, self.now)
        for number, each in enumerate(filters):
            matching = await self._matching(each)
            found = matching if number == 0 and "member" not in group else Names(id for id in found if id in matching)
        return found

    async def _members(self, id: str, members: Sequence[Json]) -> Names:
        found = Names()
        for member in members:
            name = local(member.get("entity", {}).get("reference", ""), (*self.ctx.settings.bases, self.base))
            type, _, of = name.partition("/")
            if member.get("inactive") is True or not self._lasts(member) or not valid_id(of):
                continue
            if type == "Patient":
                found.add(of)
            elif type == "Group" and of not in self._seen:
                found.update(await self._nested(id, of))
        return found

    async def _nested(self, id: str, of: str) -> Names:
        version = await self.groups.read("Group", of)
        if version is None or version.body is None:
            self.notes.append(f"Group/{of}, a member of Group/{id}, is not there")
            return Names()
        group = decode(version.body)
        check_members(of, group)
        return await self._of(of, group)

    def _lasts(self, member: Json) -> bool:
        period = period_of(member)
        return period is None or period[0] <= self.now < period[1]

    async def _matching(self, filter: Filter) -> Names:
        """The patients who, or something in whose compartments, match a search."""
        query = parsed_filter(self.ctx, filter, self.base, self.now).query
        if await is_late(self.ctx, (query,)):
            raise StoreUnavailable("The search index has not caught up with what the Group's members are found by")
        asked: Query | None = await searchable(self.ctx, replace(query, count=_PAGE, total="none"))
        patients, found = patients_reader(self.ctx, filter.type), Names()
        while asked is not None:
            page = await self.ctx.index.search(asked)
            if filter.type == "Patient":
                found.update(key.id for key in page.keys)
            else:
                for version in await self.ctx.store.read_many(page.keys):
                    if version is not None and version.body is not None:
                        found.update(patients(version.id, version.body))
            asked = replace(asked, cursor=page.cursor) if page.cursor is not None else None
        return found


async def group_store(ctx: Context, who: Identity) -> ResourceStore:
    """Where the caller's Groups are read: as the token allows; and by a service whose registration allows it to read Groups, although this
    token of it does not ask for that, as tokens of common clients do not. Raises FhirError 403, StoreUnavailable."""
    decision, access = ctx.decision, who.access
    if decision is None or decision.covers("r", "Group"):
        return ctx.store
    whole = stored(ctx)
    client = await find_client(whole, access.client) if access is not None and not access.role and not access.patient else None
    wanted = ResourceScope("system", "Group", "r")
    if client is None or not parse_scopes(client.scopes).cover(wanted):
        raise insufficient(decision, "r", "Group")
    return whole


async def read_group(store: ResourceStore, id: str) -> dict[str, Any]:
    """The Group. Raises FhirError 404 or 410, 400 where its members cannot be told."""
    version = await store.read("Group", id)
    if version is None:
        raise not_found(f"Group/{id} does not exist")
    if version.body is None:
        raise gone(f"Group/{id} was deleted")
    group = decode(version.body)
    check_members(id, group)
    return group


def check_members(id: str, group: Json) -> None:
    """Raises FhirError 400 for a Group whose members nothing names."""
    named = "member" in group or any(each.get("url") == FILTER for each in group.get("modifierExtension", ()))
    if not named and (group.get("characteristic") or group.get("actual") is False):
        text = f"Group/{id} tells its members by characteristics alone, which this server does not look for"
        raise bad_request(f"{text}; give it members, or a member-filter with a search", code="not-supported")


def filters_of(ctx: Context, id: str, group: Json, base: str, now: int) -> list[Filter]:
    """The searches that the Group's members must match, all of them. Raises FhirError 400 for what cannot be asked."""
    found = []
    for extension in group.get("modifierExtension", ()):
        if extension.get("url") != FILTER:
            raise bad_request(f"Group/{id} has a modifierExtension that is not known here: {str(extension.get('url'))[:100]}")
        expression = extension.get("valueExpression", {})
        type, mark, query = str(expression.get("expression", "")).partition("?")
        if expression.get("language") != QUERIES or type not in ctx.routes.types or not mark:
            text = f"Group/{id} has a member-filter that is no search in {QUERIES}, such as Condition?code=E11"
            raise bad_request(text, code="not-supported")
        if not in_compartment(ctx, type):
            text = f"Group/{id} has a member-filter about {type}, which lies in no patient's compartment"
            raise bad_request(text, code="not-supported")
        found.append(_checked(ctx, id, Filter(type, query), base, now))
    if found and "member" not in group and group.get("type") != "person":
        raise bad_request(f"Group/{id} filters without members what is no person; only patients are exported", code="not-supported")
    return found


def _checked(ctx: Context, id: str, filter: Filter, base: str, now: int) -> Filter:
    """The filter. Raises FhirError 400, which names the Group, where a part of it cannot be asked: members are never more for it."""
    try:
        parsed = parsed_filter(ctx, filter, base, now, lenient=True)
    except FhirError as refusal:
        raise bad_request(f"Group/{id} has a member-filter that cannot be asked: {refusal}", code=refusal.issues[0].code) from None
    for name, reason in parsed.ignored:
        text = f"Group/{id} has a member-filter with {name}, which cannot be asked: {reason}"
        raise bad_request(text, code="not-supported")
    if not parsed.query.clauses or any(name.partition(":")[0] in SHAPING for name, _ in parsed.applied):
        raise bad_request(f"Group/{id} has a member-filter that filters nothing, or shapes an answer", code="not-supported")
    return filter
