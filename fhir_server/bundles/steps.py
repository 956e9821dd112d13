"""The entries of a transaction as steps: what each is to do, decided before anything is looked up."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from fhir_server.bundles.problems import Problems
from fhir_server.bundles.shell import Entry
from fhir_server.context import Context
from fhir_server.interactions.conditional import own_id
from fhir_server.messages import Identity
from fhir_server.permission import check_entry, permitted
from fhir_server.rest.conditional import if_match
from resources.outcomes import FhirError, bad_request
from resources.store import ABSENT, ANY, Change, Claim, Draft, Version
from search.values import Entry as Values

Kind = Literal["delete", "create", "update", "patch", "read"]

_KINDS: dict[tuple[str, str], Kind] = {
    ("DELETE", "delete"): "delete",
    ("POST", "create"): "create",
    ("PUT", "update"): "update",
    ("PATCH", "patch"): "patch",
}
ORDER: dict[Kind, int] = {"delete": 0, "create": 1, "update": 2, "patch": 2, "read": 3}
"""The order in which a transaction works (https://hl7.org/fhir/R4/http.html#trules)."""


class Kept(NamedTuple):
    """A resource that was checked: a hash of its bytes, the id, and what came of them."""

    digest: bytes
    id: str
    draft: Draft
    values: Values | None


@dataclass(slots=True)
class Step:
    """One entry under way.

    Known from the start: `kind`, `type`, `criteria` (of ifNoneExist or a conditional URL; None: not conditional), `expect` (the
    client's own precondition), `named` (the id that URL or resource give), `fresh` (an id to create under). Found on the way, anew
    at each attempt: `id`, `matches` (the resources that the criteria or the address led to), `claim`, `twin` (an earlier create of
    this transaction with the same criteria), `changes` (what is to be written).
    """

    entry: Entry
    kind: Kind
    type: str
    criteria: str | None = None
    expect: int = ANY
    named: str = ""
    fresh: str = ""
    id: str = ""
    matches: list[Version] = field(default_factory=list)
    claim: Claim | None = None
    twin: "Step | None" = None
    changes: list[Change] = field(default_factory=list)
    accepted: Kept | None = None

    @property
    def must_exist(self) -> bool:
        """Whether the entry says `ifMatch: *`."""
        return self.entry.headers.get("if-match", "").strip() == "*"

    @property
    def name(self) -> str:
        """`Type/id`, once the id is known."""
        return f"{self.type}/{self.id}"

    @property
    def stores(self) -> bool:
        """Whether the entry's resource is to be stored (a create that found its resource stores nothing)."""
        return self.kind == "update" or (self.kind == "create" and not self.matches and self.twin is None)

    @property
    def alters(self) -> tuple[str, ...]:
        """The `Type/id` of everything that this entry changes, once that is known."""
        if self.kind == "delete":
            return tuple(f"{version.type}/{version.id}" for version in self.matches)
        return (self.name,) if self.id and (self.stores or self.kind == "patch") else ()

    def begin(self) -> None:
        """Forget what an earlier attempt found out."""
        self.id, self.matches, self.claim, self.twin, self.changes = "", [], None, None, []


def steps(ctx: Context, who: Identity, entries: Iterable[Entry], problems: Problems) -> list[Step]:
    """One step an entry, in order; entries that cannot be one, or that `who` may not do, are noted in `problems` and left out."""
    found = []
    for entry in entries:
        try:
            found.append(_step(ctx, who, entry))
        except FhirError as failure:
            problems.add(entry, failure, "request.url")
    _refuse_twice(((step.entry.full_url, step) for step in found), "fullUrl", problems)
    return found


def refuse_overlap(found: Iterable[Step], problems: Problems) -> None:
    """No resource may be changed by two entries (trules: "if any resource identities overlap, the transaction SHALL fail")."""
    _refuse_twice(((name, step) for step in found for name in step.alters), "request", problems)


def _refuse_twice(named: Iterable[tuple[str, Step]], place: str, problems: Problems) -> None:
    first: dict[str, Step] = {}
    for name, step in named:
        other = first.setdefault(name, step) if name else step
        if other is not step:
            text = f"{name} stands in entries {other.entry.number} and {step.entry.number}; in a transaction each may stand in one only"
            problems.add(step.entry, bad_request(text, f"{step.entry.place}.{place}", "duplicate"))


def _step(ctx: Context, who: Identity, entry: Entry) -> Step:
    if entry.fault is not None:
        raise entry.fault
    route, type, _, _, operation = ctx.routes.find(entry.method, entry.path)
    assert ctx.decision is not None, "a transaction is carried out under a decision"
    permitted(ctx.decision, who, route, type, operation)
    check_entry(route)
    kind = _KINDS.get((entry.method, route.interaction))
    if kind is None:
        if entry.method not in ("GET", "HEAD"):
            raise bad_request(
                f"{entry.method} {entry.path or '[base]'} cannot be part of a transaction; possible are create, update, patch, delete and "
                "GET. Send it on its own or in a batch",
                code="not-supported",
            )
        return Step(entry, "read", entry.type)
    return _MAKERS[kind](ctx, entry)


def _create(ctx: Context, entry: Entry) -> Step:
    _wants_body(entry)
    criteria = entry.headers.get("if-none-exist")
    return Step(entry, "create", entry.type, None if criteria is None else _criteria(entry, criteria), ABSENT, fresh=ctx.new_id())


def _update(ctx: Context, entry: Entry) -> Step:
    _wants_body(entry)
    own = own_id(entry.body)
    step = Step(entry, "update", entry.type, expect=_expected(entry), named=entry.id or own)
    if not entry.id:
        step.criteria, step.fresh = _criteria(entry, entry.query), ctx.new_id()
        return step
    if not own:
        raise bad_request(f"The resource has no id; it must be {entry.id}, as in the URL", f"{entry.place}.resource.id", "required")
    if own != entry.id:
        raise bad_request(
            f"The resource's id is {own}, the URL says {entry.id}; they must be the same", f"{entry.place}.resource.id"
        )
    return step


def _patch(ctx: Context, entry: Entry) -> Step:
    _wants_body(entry)
    return _addressed(entry, "patch")


def _delete(ctx: Context, entry: Entry) -> Step:
    return _addressed(entry, "delete")


def _addressed(entry: Entry, kind: Kind) -> Step:
    step = Step(entry, kind, entry.type, expect=_expected(entry), named=entry.id)
    if not entry.id:
        step.criteria = _criteria(entry, entry.query)
    return step


_MAKERS = {"create": _create, "update": _update, "patch": _patch, "delete": _delete}


def _wants_body(entry: Entry) -> None:
    if not entry.body:
        raise bad_request(f"{entry.method} needs a resource in the entry", f"{entry.place}.resource", "required")


def _criteria(entry: Entry, query: str) -> str:
    text = query.partition("?")[2] if query.startswith(f"{entry.type}?") else query.removeprefix("?")
    if not text:
        raise bad_request("A conditional request needs criteria, such as identifier=system|value", code="required")
    return text


def _expected(entry: Entry) -> int:
    """The precondition that ifMatch and ifNoneMatch ask for."""
    if entry.headers.get("if-none-match", "").strip() == "*":
        return ABSENT
    version = if_match(entry.headers)
    return ANY if version is None else version
