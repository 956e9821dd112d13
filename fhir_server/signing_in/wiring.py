"""The authorization server of one process, made of its Context."""

from urllib.parse import urlsplit

from fhir_server.config import Settings
from fhir_server.context import Context
from fhir_server.signing_in.directory import StoredDirectory
from smart_auth.client_keys.addresses import Allowed
from smart_auth.client_keys.jwks_uri import RemoteKeys, loopback
from smart_auth.outside.wiring import provider_of
from smart_auth.sealing import Sealer
from smart_auth.service import Service, Urls


def make_service(ctx: Context, secret: bytes) -> Service:
    """What the endpoints of `smart_auth` work with. `secret` is FHIR_SECRET, or the one in the data folder."""
    base = ctx.settings.base
    return Service(
        store=ctx.store,
        tokens=ctx.tokens,
        clock=ctx.clock,
        urls=Urls(base.removesuffix("/fhir"), base, ctx.settings.bases),
        settings=ctx.settings,
        happened=ctx.audit.happening,
        directory=StoredDirectory(ctx),
        sealer=Sealer(secret),
        remote_keys=RemoteKeys(ctx.clock, _allowed(ctx.settings)),
        provider=provider_of(ctx.settings, base.removesuffix("/fhir"), ctx.settings.bases, ctx.clock),
    )


def _allowed(settings: Settings) -> Allowed:
    """Where keys of clients may be fetched; from this machine where this server itself can be reached from here only, over http."""
    parts = urlsplit(settings.base)
    return Allowed.read(settings.jwks_uri_allow, loopback=parts.scheme == "http" and loopback(parts.hostname or ""))
