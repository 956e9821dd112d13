"""Which resources the entries of a transaction mean, and what its references by criteria point to: everything that is looked up."""

import re
from collections import defaultdict
from collections.abc import Iterable

from fhir_server.bundles.links import Links, criteria_in, place_of
from fhir_server.bundles.pace import Pace
from fhir_server.bundles.problems import Problems
from fhir_server.bundles.steps import ORDER, Step
from fhir_server.context import Context
from fhir_server.interactions.conditional import check_match, deletable, find, matching, read_criteria, settled, update_target
from fhir_server.searching.codes import names_codes, with_codes
from resources import documents
from resources.outcomes import FhirError, bad_request, gone, not_found, precondition_failed, shown
from resources.store import ABSENT, ANY, Key, Version
from search.match import Document, matches

_URN = re.compile(r"urn:(?:uuid|oid):[A-Za-z0-9.\-]+")


class Resolver:
    """One attempt's look-ups. `deleted` are the ids, by type, that this transaction deletes: they match nothing any more."""

    def __init__(self, ctx: Context, steps: list[Step], problems: Problems) -> None:
        self._ctx, self._steps, self._problems, self._pace = ctx, steps, problems, Pace()
        self._deleted: dict[str, set[str]] = defaultdict(set)
        self._made: dict[bytes, Step] = {}
        self._values: dict[str, list[Document]] = {}
        self.links = Links()

    async def identities(self) -> None:
        """Gives every step its id, match and claim, and `links` the meaning of every fullUrl. Failures are noted in the problems.

        Criteria that name another entry (`subject=urn:uuid:…`) wait until that entry has its id.
        """
        there = await self._addressed()
        todo = sorted(self._steps, key=lambda step: ORDER[step.kind])
        later = [step for step in todo if step.criteria and _URN.search(step.criteria)]
        for step in todo:
            if step not in later:
                await self._identify(step, step.criteria, there)
        for step in later:
            await self._identify(step, _URN.sub(self._meant, step.criteria or ""), there)

    def _meant(self, found: re.Match[str]) -> str:
        return self.links.lookup("")(found[0]) or found[0]

    async def _addressed(self) -> dict[tuple[str, str], Version]:
        """The live versions of what is patched or deleted by its id, and the 404s and 410s among them."""
        wanted = [step for step in self._steps if step.kind in ("patch", "delete") and step.named]
        versions = await self._ctx.store.read_many([Key(step.type, step.named) for step in wanted]) if wanted else []
        for step, version in zip(wanted, versions, strict=True):
            if step.kind == "patch" and (version is None or version.body is None):
                name = f"{step.type}/{step.named}"
                failure = gone(f"{name} was deleted") if version else not_found(f"{name} does not exist")
                self._problems.add(step.entry, failure, "request.url")
        return {(v.type, v.id): v for v in versions if v is not None and v.body is not None}

    async def _identify(self, step: Step, criteria: str | None, there: dict[tuple[str, str], Version]) -> None:
        await self._pace.breathe()
        try:
            if step.kind == "delete":
                await self._delete(step, criteria, there)
            elif step.kind == "patch":
                await self._patch(step, criteria, there)
            elif step.kind == "create":
                await self._create(step, criteria)
            elif step.kind == "update":
                await self._update(step, criteria)
        except FhirError as failure:
            self._problems.add(step.entry, failure, "request.ifNoneExist" if step.kind == "create" else "request.url")
        if step.id:
            self.links.add(step.entry.full_url, step.name, created=step.stores and step.id == step.fresh)

    async def _delete(self, step: Step, criteria: str | None, there: dict[tuple[str, str], Version]) -> None:
        if criteria is None:
            version = there.get((step.type, step.named))
            step.matches, step.id = [version] if version else [], step.named
        else:
            step.matches, step.claim = await deletable(self._ctx, step.type, criteria, without=self._deleted[step.type])
        if step.expect not in (ANY, ABSENT):
            check_match(step.matches[0] if len(step.matches) == 1 else None, step.expect)
        self._deleted[step.type].update(version.id for version in step.matches)

    async def _patch(self, step: Step, criteria: str | None, there: dict[tuple[str, str], Version]) -> None:
        if criteria is None:
            version = there.get((step.type, step.named))
        else:
            version = await self._find(step, criteria)
            if version is None:
                raise not_found(f"No {step.type} matches the criteria {shown(criteria)}; there is nothing to patch")
        if version is not None:
            check_match(version, None if step.expect in (ANY, ABSENT) else step.expect)
            step.matches, step.id = [version], version.id

    async def _create(self, step: Step, criteria: str | None) -> None:
        version = await self._find(step, criteria) if criteria else None
        if version is not None:
            step.matches, step.id = [version], version.id
            return
        if step.claim is not None:
            first = self._made.setdefault(step.claim.key, step)
            step.twin = first if first is not step else None
        step.id = step.twin.id if step.twin else step.fresh

    async def _update(self, step: Step, criteria: str | None) -> None:
        version = await self._find(step, criteria) if criteria is not None else await self._current(step)
        check_match(version, step.expect if step.expect not in (ANY, ABSENT) and criteria is not None else None)
        if step.must_exist and version is None:
            raise precondition_failed(f"{step.type} is to be updated only if it exists (ifMatch: *), but it does not", "not-found")
        if criteria is None:
            step.id = step.named
            return
        if version is not None and step.expect == ABSENT:
            raise precondition_failed(f"{version.type}/{version.id} matches, but ifNoneMatch asks that nothing does")
        self._refuse_second(step, version)
        step.matches = [version] if version else []
        id, _ = await update_target(self._ctx, step.type, version, step.named)
        step.id = id if version or step.named else step.fresh

    async def _current(self, step: Step) -> Version | None:
        """The live version of what is updated by its id, looked up only where `ifMatch: *` asks whether there is one."""
        version = await self._ctx.store.read(step.type, step.named) if step.must_exist else None
        return version if version is not None and version.body is not None else None

    def _refuse_second(self, step: Step, version: Version | None) -> None:
        """Raises FhirError 400 if another entry makes a resource on the same criteria: they would make two of what should be one."""
        if version is not None or step.claim is None:
            return
        other = self._made.setdefault(step.claim.key, step)
        if other is not step:
            text = f"Entries {other.entry.number} and {step.entry.number} would both make a {step.type} on the same criteria"
            raise bad_request(text, f"{step.entry.place}.request", "duplicate")

    async def _find(self, step: Step, criteria: str) -> Version | None:
        found = await find(self._ctx, step.type, criteria, without=self._deleted[step.type])
        step.claim = found.claim
        return found.version

    async def references(self) -> None:
        """Finds out what the references by criteria mean (https://hl7.org/fhir/R4/http.html#trules, "Conditional References")."""
        meant: dict[str, FhirError | None] = {}
        for step in self._steps:
            if not (step.stores or step.kind == "patch") or step.type == "Bundle":
                continue  # a Bundle that is stored as a document keeps its own references
            await self._pace.breathe()
            for link in self._criteria(step):
                if link not in meant:
                    meant[link] = await self._reference(link)
                failure = meant[link]
                if failure is not None:
                    self._problems.add(step.entry, failure, "resource" + place_of(step.entry.body, link))

    def _criteria(self, step: Step) -> Iterable[str]:
        try:
            return dict.fromkeys(criteria_in(step.entry.body))
        except (ValueError, RecursionError):
            return ()  # not JSON: the structural check says so in its turn

    async def _reference(self, link: str) -> FhirError | None:
        """Notes the meaning of one reference in `links`, or tells why it has none."""
        type, _, criteria = link.partition("?")
        if type not in self._ctx.routes.types:
            return None  # the check of the resource says what is wrong with it
        try:
            ids = await self._matching(type, _URN.sub(self._meant, criteria))
        except FhirError as failure:
            return failure
        if len(ids) == 1:
            self.links.criteria[link] = f"{type}/{ids[0]}"
            return None
        text = f"The reference {shown(link)} is resolved by search, which must find exactly one resource; it "
        if not ids:
            return precondition_failed(text + "found none", "not-found")
        return precondition_failed(text + f"found several, among them {type}/{ids[0]} and {type}/{ids[1]}", "multiple-matches")

    async def _matching(self, type: str, criteria: str) -> list[str]:
        """Ids of resources that match, two at most: those of this transaction, else those that are stored."""
        query = read_criteria(self._ctx, type, criteria).query
        if names_codes(query):
            await settled(self._ctx, query)
            query = await with_codes(self._ctx, query)
        inside = [document.key.id for document in self.of_type(type) if matches(query, document, self)]
        if inside:
            return inside[:2]
        deleted = self._deleted[type]
        found = await matching(self._ctx, query, 2 + len(deleted))
        return [key.id for key in found if key.id not in deleted][:2]

    def of_type(self, type: str) -> list[Document]:
        """What the transaction itself stores of a type, as a search sees it (see `search.match.World`)."""
        found = self._values.get(type)
        if found is None:
            found = self._values[type] = []
            now = self._ctx.clock()
            for step in self._steps:
                if step.type == type and step.stores and not self._problems.found(step.entry):
                    try:
                        document = {**documents.decode(step.entry.body), "id": step.id}
                        found.append(Document(Key(type, step.id), self._ctx.extractor.extract(type, document), now))
                    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
                        continue  # no such resource: its own check, which comes next, refuses the transaction
        return found
