"""How apps find the authorization server: SMART's document, OAuth's (RFC 8414), the CapabilityStatement."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from walking import Smart

from fhir_server.config import SettingsError, load_settings
from smart_auth.access import Access
from smart_auth.openid.style_file import read_style
from smart_auth.service import Service
from smart_auth.tokens import issue

STANDALONE = (
    "launch-standalone client-public client-confidential-symmetric client-confidential-asymmetric sso-openid-connect "
    "context-standalone-patient permission-offline permission-patient authorize-post permission-v1 permission-v2"
)
EHR = (
    "launch-ehr client-confidential-symmetric client-confidential-asymmetric sso-openid-connect context-banner context-style "
    "context-ehr-patient context-ehr-encounter permission-offline permission-user authorize-post permission-v1 permission-v2"
)


def document(smart: Smart, **headers: str) -> httpx.Response:
    return httpx.get(f"{smart.base}/.well-known/smart-configuration", headers=headers)


@pytest.mark.parametrize("accept", ["application/json", "application/fhir+json", "text/html", "*/*", "application/xml"])
def test_the_document_is_json_whatever_is_accepted(smart: Smart, accept: str) -> None:
    """[A1, A9] Without a token, for scripts of any origin, as application/json."""
    answer = document(smart, Accept=accept, Origin="https://app.example")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] in ("*", "https://app.example")
    assert isinstance(answer.json(), dict)


def test_what_the_document_says(smart: Smart) -> None:
    """[A2, A3, A6] All members in their types, addresses absolute, S256 and never plain."""
    body = document(smart).json()
    for name in (
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "introspection_endpoint",
        "revocation_endpoint",
        "management_endpoint",
    ):
        assert body[name].startswith(smart.root)
    assert body["code_challenge_methods_supported"] == ["S256"]
    assert {"authorization_code", "refresh_token", "client_credentials"} <= set(body["grant_types_supported"])
    assert {"private_key_jwt", "client_secret_basic"} <= set(body["token_endpoint_auth_methods_supported"])
    assert {"RS384", "ES384"} <= set(body["token_endpoint_auth_signing_alg_values_supported"])
    assert body["response_types_supported"] == ["code"]
    assert {"openid", "fhirUser", "launch", "launch/patient", "offline_access", "patient/*.rs"} <= set(body["scopes_supported"])
    assert all(isinstance(each, str) for each in body["capabilities"])


@pytest.mark.parametrize("wanted", [STANDALONE, EHR])
def test_the_capabilities(smart: Smart, wanted: str) -> None:
    """[A4, A5] All that apps of either launch look for."""
    assert set(wanted.split(" ")) <= set(document(smart).json()["capabilities"])


def test_the_capability_statement_says_the_same(smart: Smart) -> None:
    """[A7, A8, A10] rest.security with SMART-on-FHIR and the same addresses, also the same ones left out; for scripts too."""
    answer = httpx.get(f"{smart.base}/metadata", headers={"Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] in ("*", "https://app.example")
    security: dict[str, Any] = answer.json()["rest"][0]["security"]
    assert security["service"][0]["coding"][0]["code"] == "SMART-on-FHIR" and security["cors"] is True
    extension = next(each for each in security["extension"] if each["url"].endswith("/StructureDefinition/oauth-uris"))
    said = {each["url"]: each["valueUri"] for each in extension["extension"]}
    body = document(smart).json()
    names = {
        "authorize": "authorization_endpoint", "token": "token_endpoint", "introspect": "introspection_endpoint",
        "revoke": "revocation_endpoint", "manage": "management_endpoint", "register": "registration_endpoint",
    }  # fmt: skip
    assert said == {short: body[name] for short, name in names.items() if name in body}


def test_the_capability_statement_is_valid(smart: Smart) -> None:
    """With what it says of sign-in, too."""
    statement = httpx.get(f"{smart.base}/metadata").json()
    token = smart.at_store(_token)
    answer = httpx.post(f"{smart.base}/CapabilityStatement/$validate", json=statement, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    assert not [each for each in answer.json()["issue"] if each["severity"] in ("error", "fatal")]


async def _token(service: Service) -> str:
    now = service.clock()
    token, record = issue(Access("tests", "tests", "system/*.cruds", now + 3_600_000_000, now))
    await service.commit(record)
    return token


def test_metadata_of_the_authorization_server(smart: Smart) -> None:
    """RFC 8414, as Authlib checks it."""
    body = httpx.get(f"{smart.root}/.well-known/oauth-authorization-server").json()
    metadata = AuthorizationServerMetadata(body)
    for name in ("authorization_endpoint", "token_endpoint", "grant_types_supported", "code_challenge_methods_supported"):
        getattr(metadata, f"validate_{name}")()
    assert body["issuer"] == smart.root and body["authorization_response_iss_parameter_supported"] is True


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/userinfo", "/oauth/jwks", "/fhir/.well-known/smart-configuration"])
def test_scripts_may_ask_first(smart: Smart, path: str) -> None:
    """[C8] The preflight of a browser is answered."""
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = httpx.options(f"{smart.root}{path}", headers=headers)
    assert answer.status_code in (200, 204)
    assert answer.headers["access-control-allow-origin"] in ("*", "https://app.example")
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()


@pytest.mark.parametrize("path", ["/oauth/authorize", "/oauth/consent", "/oauth/sign-in"])
def test_no_script_reads_a_page(smart: Smart, path: str) -> None:
    """Pages are for people: no other origin may read them."""
    answer = httpx.get(f"{smart.root}{path}", headers={"Origin": "https://app.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_the_style(smart: Smart) -> None:
    """[C9] 200 JSON for anybody, with the members of SMART's style document."""
    answer = httpx.get(f"{smart.root}/oauth/style.json")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    assert {"color_background", "color_text", "dim_font_size", "font_family_body"} <= set(answer.json())


@pytest.mark.parametrize(
    "content, problem", [(None, "cannot be read"), (b"[]", "no JSON object"), (b"{", "no JSON object"), (b"x" * 70_000, "longer")]
)
def test_a_style_file_that_is_none(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """The start is refused, with a sentence that says why."""
    path = tmp_path / "style.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"FHIR_STYLE_FILE.*{problem}"):
        load_settings({"style_file": path})


def test_a_style_of_ones_own(tmp_path: Path) -> None:
    """FHIR_STYLE_FILE is read once."""
    path = tmp_path / "style.json"
    path.write_text('{"color_text": "#000000"}', encoding="utf-8")
    assert read_style(path) == {"color_text": "#000000"} and load_settings({"style_file": path}).style_file == path
