"""What those who run the server see of the feed, in the text format of Prometheus."""

import time
from collections.abc import Mapping

from resources.store import ResourceStore

_HELP: Mapping[str, str] = {
    "fhir_index_behind_positions": "Commits that the search index has not got yet.",
    "fhir_index_behind_seconds": "Age of the oldest of them.",
    "fhir_index_set_aside": "Documents that this process could not have indexed.",
    "fhir_index_reachable": "Whether this process reaches the search index.",
    "fhir_index_feeder": "Whether this process feeds the search index.",
    "fhir_index_blocked_types": "Types whose index takes no writes, where this process feeds it.",
}


async def gauges(store: ResourceStore, confirmed: int, **values: int) -> list[str]:
    """The lines: how far the index is behind, which has everything up to a position, and `values` by the rest of their names."""
    position, behind = await store.position(), 0.0
    if position > confirmed:
        async for versions in store.outbox(after=confirmed, limit=1):
            behind = max(0.0, time.time() - versions[0].instant / 1e6)
            break
    texts = {"behind_positions": f"{max(position - confirmed, 0)}", "behind_seconds": f"{behind:.3f}"}
    texts |= {name: f"{value}" for name, value in values.items()}
    named = {f"fhir_index_{name}": text for name, text in texts.items()}
    return [
        line for name, text in named.items() for line in (f"# HELP {name} {_HELP[name]}", f"# TYPE {name} gauge", f"{name} {text}")
    ]
