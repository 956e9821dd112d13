"""Checkpoints of a running server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fhir_server.auditing.checkpoints import Checkpoints
from fhir_server.auditing.keys import KeyProblem, public_keys, signing_key
from fhir_server.auditing.retention import Retention
from fhir_server.context import Context
from resources.store import StoreUnavailable
from smart_auth.sealing import Sealer


@asynccontextmanager
async def signing(ctx: Context, secret: bytes) -> AsyncIterator[None]:
    """Makes checkpoints meanwhile, and a last one at the end; archives, where there is a folder for that. Raises StoreUnavailable, also
    where there is no key to sign with."""
    settings, sealer = ctx.settings, Sealer(secret)
    try:
        key = await signing_key(ctx.store, sealer, settings.audit_key)
    except KeyProblem as problem:
        raise StoreUnavailable(f"the audit cannot be signed: {problem}") from None
    checkpoints = Checkpoints(ctx.store, key, ctx.clock, settings.audit_checkpoint_seconds)
    checkpoints.start()
    retention = None
    if settings.audit_archive is not None:
        believed, _ = await public_keys(ctx.store, sealer, [key])
        retention = Retention(ctx, key, believed)
        retention.start()
    try:
        yield
    finally:
        if retention is not None:
            await retention.stop()
        await checkpoints.stop()
