"""What the settings make of identity from outside."""

from collections.abc import Callable, Mapping

from resources.store import ResourceStore
from smart_auth.outside.claims import Mapped, read_pairs, read_roles
from smart_auth.outside.issuer import Issuer
from smart_auth.outside.provider import Provider
from smart_auth.outside.settings import OutsideSettings
from smart_auth.outside.tokens import NAMES, OutsideTokens, Trust
from smart_auth.tokens import StoredTokens, Tokens


def tokens_of(settings: OutsideSettings, bases: tuple[str, ...], store: ResourceStore, clock: Callable[[], int]) -> Tokens:
    """What looks access tokens up. `bases` are the FHIR bases that mean this server, the one for clients first."""
    if not settings.auth_issuer:
        return StoredTokens(store, clock)
    secret, elsewhere = settings.auth_client_secret, settings.auth_fhir_base.rstrip("/")
    known = (*bases, elsewhere) if elsewhere else bases
    trust = Trust(
        audiences=tuple(settings.auth_audience.split()) or bases,
        mapped=Mapped(settings.auth_role_claim, read_roles(settings.auth_roles), settings.auth_fhir_user, known),
        introspection=settings.auth_introspection,
        client=(settings.auth_client_id, secret.get_secret_value() if secret is not None else ""),
        seconds=settings.auth_introspection_ttl,
        names=_names(read_pairs(settings.auth_claims)),
    )
    return OutsideTokens(Issuer(settings.auth_issuer, clock), trust, clock)


def provider_of(settings: OutsideSettings, root: str, bases: tuple[str, ...], clock: Callable[[], int]) -> Provider | None:
    """The OpenID provider at which people may sign in. `root` is this server's."""
    if settings.sign_in == "local":
        return None
    return Provider(Issuer(settings.oidc_issuer, clock), settings, f"{root}/oauth/outside/callback", bases)


def _names(otherwise: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {what: (otherwise[what],) if what in otherwise else usual for what, usual in NAMES.items()}
