"""Adopting what another store holds, for moving and restoring: `adopt(versions)` of a store, and what each checks before.

`adopt` writes versions exactly as they are: numbers, instants, positions and bytes. They come in the order of their positions, which
are all above the store's own; whoever gives all that the other store's `outbox` tells after `position()` can go on after an
interruption. Events keep their ids, which name their positions. All or nothing, durable when it returns. ValueError for versions that
do not follow what is there.
"""

from collections.abc import Sequence

from resources.store import Version


def check_order(versions: Sequence[Version], position: int) -> None:
    """Raises ValueError unless the positions ascend and all lie above `position`, the store's own."""
    for version in versions:
        if version.position <= position:
            raise ValueError(f"{version.type}/{version.id} has position {version.position}, which does not follow {position}")
        position = version.position


def check_next(version: Version, latest: int) -> None:
    """Raises ValueError unless the version is the one after `latest` (0: there is none) of its resource."""
    if version.version != latest + 1:
        raise ValueError(f"version {version.version} of {version.type}/{version.id} does not follow version {latest}")
