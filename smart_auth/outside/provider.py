"""This server as a client of an OpenID provider: the way there, and what comes back (OpenID Connect Core 1.0, 3.1; RFC 7636; RFC 9207)."""

import hmac
from typing import Any, Final

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from pydantic import SecretStr

from smart_auth.outside.claims import Mapped, audiences, read_pairs, read_roles
from smart_auth.outside.fetching import IssuerUnavailable, Refused, fetched, read_object
from smart_auth.outside.issuer import LEEWAY, Issuer, Untrusted, is_instant
from smart_auth.outside.settings import OutsideSettings

_TYPES: Final = ("jwt",)
_LONGEST_CODE: Final = 2_048

Claims = dict[str, Any]


class NotSignedIn(Exception):
    """Why nobody is signed in by what the provider answered: a few words for a log and the audit."""


class Provider:
    """The provider that the settings name. `redirect_uri` is where it sends people back to, `bases` are the FHIR bases of this server."""

    def __init__(self, issuer: Issuer, settings: OutsideSettings, redirect_uri: str, bases: tuple[str, ...]) -> None:
        self.issuer, self.name, self._redirect_uri = issuer, settings.oidc_name, redirect_uri
        self._client, self._secret = settings.oidc_client_id, settings.oidc_client_secret
        self._scopes, self._parameters = settings.oidc_scopes, read_pairs(settings.oidc_parameters)
        known = (*bases, settings.oidc_fhir_base.rstrip("/")) if settings.oidc_fhir_base else bases
        self.mapped = Mapped(settings.oidc_role_claim, read_roles(settings.oidc_roles), settings.oidc_fhir_user, known)

    async def address(self, state: str, nonce: str, verifier: str, *, again: bool) -> str:
        """Where to send the browser; `again`: the user has to prove anew who it is. Raises IssuerUnavailable."""
        more = self._parameters | ({"prompt": "login", "max_age": "0"} if again else {})
        url: str = prepare_grant_uri(
            await self.issuer.endpoint("authorization_endpoint"),
            client_id=self._client,
            response_type="code",
            redirect_uri=self._redirect_uri,
            scope=self._scopes,
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
            **more,
        )
        return url

    async def check_origin(self, issuer: str | None) -> None:
        """Make sure that an answer comes from this provider (`iss`, RFC 9207), where it says so or has promised to. Raises NotSignedIn."""
        promised = (await self.issuer.metadata()).get("authorization_response_iss_parameter_supported") is True
        if issuer != self.issuer.url and (promised or issuer is not None):
            raise NotSignedIn("the answer is another provider's")

    async def claims(self, code: str, nonce: str, verifier: str, since: int) -> Claims:
        """What the provider says of whoever has signed in there. `since`: the sign-in must not be older than this instant (seconds since
        the epoch; 0: any). Raises NotSignedIn, IssuerUnavailable."""
        if not 0 < len(code) <= _LONGEST_CODE:
            raise NotSignedIn("the answer has no code")
        answer = await self._redeemed(code, verifier)
        token = answer.get("id_token")
        try:
            claims = await self.issuer.verified(token if isinstance(token, str) else "", types=_TYPES)
        except Untrusted as why:
            raise NotSignedIn(f"the id_token does not count: {why}") from None
        self._check(claims, nonce, since)
        return await self._completed(claims, answer.get("access_token"))

    def _check(self, claims: Claims, nonce: str, since: int) -> None:
        for_whom = audiences(claims)
        given, subject, at = claims.get("nonce"), claims.get("sub"), claims.get("auth_time")
        if self._client not in for_whom or claims.get("azp", self._client) != self._client:
            raise NotSignedIn("the id_token is for another client")
        if len(for_whom) > 1 and "azp" not in claims:
            raise NotSignedIn("the id_token does not say which of its clients it was made for")
        if not isinstance(given, str) or not hmac.compare_digest(given.encode("utf-8", "replace"), nonce.encode()):
            raise NotSignedIn("the id_token was made for another sign-in")
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise NotSignedIn("the id_token names nobody")
        if since and not (is_instant(at) and at >= since - LEEWAY):
            raise NotSignedIn("the provider did not ask again who it is")

    async def _redeemed(self, code: str, verifier: str) -> Claims:
        url = await self.issuer.endpoint("token_endpoint")
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self._redirect_uri, "code_verifier": verifier}
        auth, more = await self._proof()
        try:
            body, _ = await fetched(url, form=form | more, auth=auth)
        except Refused as refusal:
            raise NotSignedIn(f"the provider refuses the code: {refusal}") from None
        return read_object(body, url)

    async def _proof(self) -> tuple[tuple[str, str] | None, dict[str, str]]:
        """What proves this server to the provider: credentials for HTTP Basic, or fields of the form."""
        if not isinstance(self._secret, SecretStr):
            return None, {"client_id": self._client}
        secret = self._secret.get_secret_value()
        methods = (await self.issuer.metadata()).get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if isinstance(methods, list) and "client_secret_basic" not in methods and "client_secret_post" in methods:
            return None, {"client_id": self._client, "client_secret": secret}
        return (self._client, secret), {}

    async def _completed(self, claims: Claims, access_token: object) -> Claims:
        """With what userinfo adds where the id_token leaves role or reference out (OpenID Connect Core 1.0, 5.3)."""
        known = self.mapped.role(claims) and self.mapped.reference(claims)
        if known or not isinstance(access_token, str) or "userinfo_endpoint" not in await self.issuer.metadata():
            return claims
        url = await self.issuer.endpoint("userinfo_endpoint")
        try:
            more = read_object((await fetched(url, bearer=access_token))[0], url)
        except (Refused, IssuerUnavailable):
            return claims  # it only adds: the id_token alone has proved who it is
        return more | claims if more.get("sub") == claims["sub"] else claims
