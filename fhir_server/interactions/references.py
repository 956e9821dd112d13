"""Whether what a document refers to is there (`FHIR_REFERENCE_EXISTENCE=on`): a rule of this server, not of FHIR."""

import re
from collections.abc import Iterator, Sequence

import msgspec

from fhir_server.context import Context
from resources.ids import valid_id
from resources.outcomes import Issue, unprocessable
from resources.store import Change, Draft, Key

MOST_TOLD = 50

_REFERENCE = re.compile(rb'"reference"\s*:\s*("(?:[^"\\]|\\.)*")')


async def check_references(ctx: Context, base: str, changes: Sequence[Change]) -> None:
    """Raises FhirError 422 with each reference to this server that leads to nothing, neither stored nor made by `changes`."""
    made = {(c.type, c.id) for c in changes if c.draft is not None}
    deleted = {(c.type, c.id) for c in changes if c.draft is None}
    wanted = {
        (type, id): change
        for change in changes
        if change.draft is not None
        for type, id in _targets(ctx, (base, *ctx.settings.bases), change.draft)
        if (type, id) not in made
    }
    keys = [Key(type, id) for type, id in wanted]
    found = await ctx.store.read_many(keys) if keys else []
    missing = [
        key
        for key, version in zip(keys, found, strict=True)
        if version is None or version.body is None or (key.type, key.id) in deleted
    ]
    if missing:
        issues = [_missing(key, wanted[key.type, key.id]) for key in missing[:MOST_TOLD]]
        raise unprocessable(issues)


def _targets(ctx: Context, bases: Sequence[str], draft: Draft) -> Iterator[tuple[str, str]]:
    """(type, id) of every literal reference to this server in a document's bytes."""
    for part in (draft.head, draft.tail):
        for found in _REFERENCE.finditer(part):
            text: str = msgspec.json.decode(found[1], type=str)
            for base in bases:
                text = text.removeprefix(f"{base}/")
            type, _, rest = text.partition("/")
            id = rest.partition("/")[0]
            if type in ctx.routes.types and valid_id(id):
                yield type, id


def _missing(key: Key, change: Change) -> Issue:
    text = f"{change.type}/{change.id} refers to {key.type}/{key.id}, which does not exist here (FHIR_REFERENCE_EXISTENCE=on)"
    return Issue("error", "business-rule", text, change.type)
