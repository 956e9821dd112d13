"""What every store checks before it adopts versions of another one (`ResourceStore.adopt`)."""

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
