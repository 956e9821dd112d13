"""The steps of a transaction as changes to commit: links replaced, each resource checked once."""

from hashlib import blake2b

from fhir_server.bundles.links import Links, Lookup, rewrite, root_of, unresolved
from fhir_server.bundles.pace import Pace
from fhir_server.bundles.problems import Problems
from fhir_server.bundles.steps import Kept, Step
from fhir_server.context import Context
from fhir_server.interactions.accept import accept
from fhir_server.interactions.patch import patched, read_patch
from resources.outcomes import FhirError, bad_request
from resources.store import ABSENT, ANY, Change, Draft
from search.values import Entry as Values


class Changes:
    """Turns steps whose identities are known into changes, in `step.changes`. What is wrong goes into the problems.

    `echo`: whether the answer is to have the documents as they were stored."""

    def __init__(self, ctx: Context, links: Links, problems: Problems, *, echo: bool) -> None:
        self._ctx, self._links, self._problems, self._echo = ctx, links, problems, echo
        self._needles, self._pace = links.needles(), Pace()
        self._complete = not problems.any()

    async def make(self, steps: list[Step]) -> list[tuple[Step, Change]]:
        """Every change with its step, in the order in which a transaction works."""
        for step in steps:
            await self._pace.breathe()
            if not self._problems.found(step.entry):
                try:
                    step.changes = await self._of(step)
                except FhirError as failure:
                    self._problems.add(step.entry, failure)
        return [(step, change) for step in steps for change in step.changes]

    async def _of(self, step: Step) -> list[Change]:
        if step.kind == "delete":
            return self._deletions(step)
        if step.kind == "patch":
            return [await self._patch(step)]
        return [await self._store(step)] if step.stores else []

    @staticmethod
    def _deletions(step: Step) -> list[Change]:
        own = step.expect if step.expect not in (ANY, ABSENT) else None
        conditional = step.criteria is not None
        return [Change(v.type, v.id, None, own or (v.version if conditional else ANY), "DELETE") for v in step.matches]

    async def _store(self, step: Step) -> Change:
        draft, values = await self._accepted(step, self._rewritten(step, step.type))
        if step.kind == "create":
            return Change(step.type, step.id, draft, ABSENT, "POST", values, self._echo)
        expect = step.expect
        if step.criteria is not None:
            expect = step.matches[0].version if step.matches else ABSENT
        return Change(step.type, step.id, draft, expect, "PUT", values, self._echo)

    async def _accepted(self, step: Step, body: bytes) -> tuple[Draft, Values | None]:
        """The checked resource; kept on the step, so that a repeated attempt with the same outcome does not check again."""
        kept, digest = step.accepted, blake2b(body, digest_size=16).digest()
        if kept is None or kept.digest != digest or kept.id != step.id:
            accepted = await accept(self._ctx, step.type, body, step.id)
            kept = step.accepted = Kept(digest, step.id, accepted.draft, accepted.entry)
        return kept.draft, kept.values

    async def _patch(self, step: Step) -> Change:
        change, _ = await patched(self._ctx, step.matches[0], read_patch(self._rewritten(step, "Parameters"), ""))
        return change

    def _rewritten(self, step: Step, type: str) -> bytes:
        """The entry's bytes with its links replaced. Raises FhirError 400 where a reference to another entry leads nowhere."""
        lookup: Lookup = self._links.lookup(root_of(step.entry.full_url))
        body = rewrite(type, step.entry.body, lookup, self._needles)
        if type != "Bundle" and self._complete:  # else it may be an entry that is itself wrong
            left = unresolved(body)
            if left:
                place = f"{step.entry.place}.resource"
                text = f"The reference {left} leads nowhere: no entry of this transaction has that fullUrl"
                raise bad_request(text, place, "not-found")
        return body
