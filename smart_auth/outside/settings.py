"""The settings of identity from outside, each once: people who sign in at an OpenID provider, and another server's access tokens."""

from typing import Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from smart_auth.outside.claims import read_pairs, read_roles
from smart_auth.outside.fetching import check_url


def setting(default: Any, help: str, **limits: Any) -> Any:
    """A field of a class of settings: its default, one line of help for docs/configuration.md, and pydantic's limits (`ge`, `le` …)."""
    return Field(default, description=help, **limits)


_PROTOCOL = (
    "client_id response_type response_mode redirect_uri scope state nonce code_challenge code_challenge_method prompt max_age"
)
OF_PROTOCOL = frozenset((*_PROTOCOL.split(" "), "request", "request_uri"))
"""Parameters of the authorization request that no setting may give."""


class OutsideSettings(BaseSettings):
    """Fields of `fhir_server.config.Settings`."""

    sign_in: Literal["local", "oidc", "both"] = setting(
        "local",
        "How people sign in: `local`: with a password of this server; `oidc`: at an outside OpenID provider (`FHIR_OIDC_ISSUER`) only;"
        " `both`: as they choose.",
    )
    oidc_issuer: str = setting(
        "",
        "The OpenID provider at which people sign in (Cognito, Entra, Okta, Keycloak …): its issuer, exactly as its discovery document says"
        " it. Register `/oauth/outside/callback` below this server's root there.",
    )
    oidc_client_id: str = setting("", "This server's client id at the OpenID provider.", max_length=500)
    oidc_client_secret: SecretStr | None = setting(
        None, "This server's secret at the OpenID provider; empty where it has none (PKCE is always used)."
    )
    oidc_scopes: str = setting("openid profile", "What to ask the OpenID provider for; `openid` must be among it.")
    oidc_parameters: str = setting(
        "",
        "Further parameters for the OpenID provider's sign-in page, as `domain_hint=clinic.example kc_idp_hint=staff`; `%20` stands for a"
        " blank.",
    )
    oidc_name: str = setting("your organization", "What the sign-in page calls the OpenID provider.", max_length=60)
    oidc_role_claim: str = setting(
        "",
        "The claim of the OpenID provider that says what somebody is: a name, or a path such as `realm_access.roles`. Empty: it follows"
        " from `FHIR_OIDC_FHIR_USER` (patient or practitioner).",
    )
    oidc_roles: str = setting(
        "",
        "Values of `FHIR_OIDC_ROLE_CLAIM` and the roles that they mean, as `clinicians=practitioner it-staff=admin`; the first that"
        " somebody has counts. `%20` stands for a blank. Whoever has none of them is refused.",
    )
    oidc_fhir_user: str = setting(
        "fhirUser",
        "Who somebody is in this server: a claim (`fhirUser`) that holds a reference, or a template of claims, as"
        " `Practitioner/{employee_id}`.",
        max_length=200,
    )
    oidc_fhir_base: str = setting(
        "",
        "A FHIR base URL of the OpenID provider's, if its `fhirUser` are references to it whose ids are the same here.",
    )
    auth_issuer: str = setting(
        "",
        "Another authorization server, whose access tokens are taken in place of this server's own: its issuer. This server then has no"
        " sign-in pages and gives out no tokens.",
    )
    auth_audience: str = setting(
        "",
        "What the access tokens of `FHIR_AUTH_ISSUER` must name as their audience, separated by blanks. Empty: the FHIR base URL.",
    )
    auth_introspection: str = setting(
        "",
        "URL at which every access token of `FHIR_AUTH_ISSUER` is asked for (RFC 7662). Empty: they are JWTs, checked by the issuer's"
        " keys.",
    )
    auth_client_id: str = setting("", "This server's client id for introspection.", max_length=500)
    auth_client_secret: SecretStr | None = setting(None, "This server's secret for introspection.")
    auth_introspection_ttl: int = setting(
        10, "Seconds for which the answer of an introspection counts; a revocation is seen after them.", ge=1, le=60
    )
    auth_claims: str = setting(
        "",
        "What claims are called at `FHIR_AUTH_ISSUER`, where it is otherwise than here, as `patient=launch_patient`. Known are scope,"
        " patient, encounter, client and name.",
    )
    auth_role_claim: str = setting("", "As `FHIR_OIDC_ROLE_CLAIM`, in access tokens of `FHIR_AUTH_ISSUER`.")
    auth_roles: str = setting(
        "", "As `FHIR_OIDC_ROLES`, in access tokens of `FHIR_AUTH_ISSUER`. Whoever has none of them has no `user/` scope."
    )
    auth_fhir_user: str = setting("fhirUser", "As `FHIR_OIDC_FHIR_USER`, in access tokens of `FHIR_AUTH_ISSUER`.", max_length=200)

    auth_fhir_base: str = setting(
        "",
        "As `FHIR_OIDC_FHIR_BASE`, for the access tokens of `FHIR_AUTH_ISSUER`: a FHIR base URL of its, if its `fhirUser` are references to"
        " it whose ids are the same here.",
    )

    @field_validator("oidc_issuer", "auth_issuer", "auth_introspection")
    @classmethod
    def _url(cls, value: str) -> str:
        if value:
            check_url(value, "an issuer's address")
        return value

    @field_validator("oidc_roles", "auth_roles")
    @classmethod
    def _roles(cls, value: str) -> str:
        read_roles(value)
        return value

    @field_validator("oidc_parameters")
    @classmethod
    def _parameters(cls, value: str) -> str:
        if taken := OF_PROTOCOL.intersection(read_pairs(value)):
            raise ValueError(f"{min(taken)} is a parameter that the server sends itself")
        return value

    @field_validator("auth_claims")
    @classmethod
    def _claims(cls, value: str) -> str:
        read_pairs(value, left=frozenset(("scope", "patient", "encounter", "client", "name")))
        return value

    @model_validator(mode="after")
    def _outside_fits(self) -> Self:
        if self.sign_in != "local" and not (self.oidc_issuer and self.oidc_client_id):
            raise ValueError(f"FHIR_SIGN_IN={self.sign_in} needs FHIR_OIDC_ISSUER and FHIR_OIDC_CLIENT_ID")
        if self.oidc_role_claim and not self.oidc_roles:
            raise ValueError("FHIR_OIDC_ROLE_CLAIM needs FHIR_OIDC_ROLES: which values mean which role")
        if "openid" not in self.oidc_scopes.split():
            raise ValueError("FHIR_OIDC_SCOPES must have openid among them")
        if self.auth_introspection and not (self.auth_issuer and self.auth_client_id and self.auth_client_secret):
            raise ValueError("FHIR_AUTH_INTROSPECTION needs FHIR_AUTH_ISSUER, FHIR_AUTH_CLIENT_ID and FHIR_AUTH_CLIENT_SECRET")
        if self.auth_issuer and self.sign_in != "local":
            raise ValueError("FHIR_AUTH_ISSUER: people sign in there, so FHIR_SIGN_IN must be left out")
        return self
