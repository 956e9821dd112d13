"""Absolute references to the old server made relative, so that they lead to what was brought along.

Members named `reference` are rewritten (Reference.reference, https://hl7.org/fhir/R4/references.html) that begin with one of the old bases
and go on with a type and an id; nothing else is, neither `Attachment.url`, canonicals, texts nor identifiers.
"""

from collections.abc import Callable, Sequence
from typing import Any

from resources import documents
from resources.ids import valid_id


def rewriter(bases: Sequence[str], types: frozenset[str]) -> Callable[[bytes], bytes]:
    """What rewrites a document. A body that names none of the bases is handed on as it is."""
    prefixes = tuple(f"{base.rstrip('/')}/" for base in bases)
    marks = tuple(prefix.encode() for prefix in prefixes) + tuple(prefix.replace("/", "\\/").encode() for prefix in prefixes)

    def rewrite(body: bytes) -> bytes:
        if not any(mark in body for mark in marks):
            return body
        document = documents.decode(body)
        return documents.encode(document) if _walk(document, prefixes, types) else body

    return rewrite


def _walk(value: Any, prefixes: Sequence[str], types: frozenset[str]) -> bool:
    """Rewrite in place; whether anything was."""
    changed = False
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "reference" and isinstance(inner, str):
                if (relative := _relative(inner, prefixes, types)) is not None:
                    value[name], changed = relative, True
            else:
                changed |= _walk(inner, prefixes, types)
    elif isinstance(value, list):
        for inner in value:
            changed |= _walk(inner, prefixes, types)
    return changed


def _relative(reference: str, prefixes: Sequence[str], types: frozenset[str]) -> str | None:
    for prefix in prefixes:
        if reference.startswith(prefix):
            rest = reference.removeprefix(prefix)
            parts = rest.split("/")
            versioned = len(parts) == 4 and parts[2] == "_history"
            if (len(parts) == 2 or versioned) and parts[0] in types and valid_id(parts[1]):
                return "/".join(parts[:2])  # numbers of versions begin anew here
    return None
