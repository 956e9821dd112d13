"""The base URLs for which an index's absolute references were read: a server with another base since misses some of them.

An index keeps lists of URLs, each list those that meant the server (`search.types.text.Bases`) while documents were indexed.
"""

from collections.abc import Sequence

Kept = list[list[str]]

_MOST = 8
"""Lists kept: the first, and the newest."""


def noted(kept: Kept, bases: Sequence[str]) -> Kept:
    """What to keep once documents are indexed with these URLs too."""
    return kept if list(bases) in kept else [*kept[:1], *kept[1:][2 - _MOST :], list(bases)]


def warning(kept: Kept, bases: Sequence[str]) -> str | None:
    """What to say where documents were indexed with others than these URLs; None where none were."""
    others = [before[0] for before in kept if before != list(bases)]
    if not others:
        return None
    return (
        f"The base URL of this server is {bases[0]}, but absolute references in the search index were indexed for {', '.join(others)}:"
        " searches may miss them. Run `fhir-server reindex` with this server's FHIR_BASE_URL, FHIR_HOST and FHIR_PORT."
    )
