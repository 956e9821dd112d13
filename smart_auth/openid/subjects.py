"""What apps call a user: `sub` of OpenID Connect Core 1.0 (2), random, never given to anybody else, the same for all apps."""

import secrets
from typing import Final

from resources.store import ABSENT, Conflict, RecordChange
from smart_auth.service import Service

KIND: Final = "subject"


async def subject_of(service: Service, user: str) -> str:
    """The subject of the user with this (normalised) name, made at first need. Raises StoreUnavailable."""
    while True:
        record = await service.store.record(KIND, user)
        if record is not None:
            return record.value.decode()
        made = secrets.token_urlsafe(24)
        try:
            await service.commit(RecordChange(KIND, user, made.encode(), ABSENT))
        except Conflict:  # another request was first: its subject counts
            continue
        return made


def forgotten_subject(user: str) -> RecordChange:
    """To be committed where a user is removed: whoever gets the name later is somebody else."""
    return RecordChange(KIND, user, None)
