"""The end of what a client was given, where it is disabled or removed."""

from typing import Final

from resources.store import RecordChange
from smart_auth.issuing.authorization import CODE, REFRESH, revoke_all
from smart_auth.server.launch import KIND as LAUNCH
from smart_auth.service import Service
from smart_auth.tokens import KIND as ACCESS_TOKEN

OF_CLIENT: Final = (CODE, REFRESH, ACCESS_TOKEN, LAUNCH)
"""Kinds of records tagged `client:ID`."""
_PAGE: Final = 500


async def end_tokens(service: Service, id: str, by: str) -> None:
    """End all that users have granted to the client, and every token of its own. Tokens that were in use just now count for a second
    more in other processes (`tokens.KEPT`). Raises StoreUnavailable."""
    await revoke_all(service, client=id, by=by, why="the app was disabled or removed")
    for kind in OF_CLIENT:
        while found := await service.store.records(kind, tag=f"client:{id}", limit=_PAGE):
            await service.store.commit((), records=[RecordChange(kind, record.key, None) for record in found])
            for record in found:
                service.tokens.forget(record.key)
