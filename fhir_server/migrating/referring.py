"""References of what came that lead nowhere: to nothing that came along, and to nothing that was here."""

import re
from collections.abc import Iterator
from typing import Any

from fhir_server.access.views import stored
from fhir_server.context import Context
from fhir_server.migrating.contract import Problem, Wrong
from fhir_server.migrating.ledger import Ledger
from resources.store import Key

_TARGET = re.compile(r"([A-Z][A-Za-z]{1,40})/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?", re.ASCII)
PORTION = 200
MOST = 10_000
"""Warnings that are told."""


def targets(value: Any) -> Iterator[tuple[str, str]]:
    """Types and ids of the relative references in a document (https://hl7.org/fhir/R4/references.html#literal)."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "reference" and isinstance(inner, str):
                if match := _TARGET.fullmatch(inner):
                    yield match[1], match[2]
            else:
                yield from targets(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from targets(inner)


async def dangling(ctx: Context, ledger: Ledger) -> tuple[int, list[Wrong]]:
    """How many resources are referred to and neither came nor are in the store, and warnings of the first. Raises StoreUnavailable."""
    count, found = 0, list[Wrong]()
    for some in ledger.missing(PORTION):
        known = [each for each in some if each.type in ctx.routes.types]
        versions = await stored(ctx).read_many([Key(each.type, each.id) for each in known])
        for each, version in zip(known, versions, strict=True):
            if version is None or version.body is None:
                count += 1
                if count > MOST:
                    continue
                text = f"{each.type}/{each.id} is referred to, and is not here"
                found.append(Wrong(each.type, each.where, (Problem("not-found", text, None, "warning"),)))
    return count, found
