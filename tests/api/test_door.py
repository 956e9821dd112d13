"""What holds for every answer: headers for browsers, and which scripts may call (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from collections.abc import Iterator

import httpx
import pytest
from access.worlds import World

from smart_auth.access import Access

APP = "https://app.example.org"
PATIENT = {"resourceType": "Patient", "id": "1", "name": [{"family": "Door"}]}
CALLERS = {
    "everything": Access("loader", "loader", "system/*.cruds", 0),
    "patient": Access("kim", "app", "openid fhirUser patient/*.rs", 0, role="patient", patient="1", fhir_user="Patient/1"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    one = World(tmp_path_factory.mktemp("door"), [PATIENT], CALLERS, base_url="")
    yield one
    one.close()


@pytest.fixture(scope="module")
def one_origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server that scripts of one site may call, reached over https by way of a proxy."""
    one = World(
        tmp_path_factory.mktemp("origin"), [], CALLERS, cors_origins=f"{APP} http://localhost:9000", base_url="https://f.test/fhir"
    )
    yield one
    one.close()


def ask(world: World, method: str, path: str, token: str = "", **headers: str) -> httpx.Response:
    if token:
        headers["Authorization"] = f"Bearer {world.tokens[token]}"
    return httpx.request(
        method, world.running.root + path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def preflight(world: World, path: str, method: str = "GET", headers: str = "authorization", origin: str = APP) -> httpx.Response:
    asked = {"Access_Control_Request_Method": method, "Access_Control_Request_Headers": headers}
    return ask(world, "OPTIONS", path, Origin=origin, **asked)


def test_discovery_by_a_script(world: World) -> None:
    """[A9] A script of any site may read the SMART configuration."""
    answer = ask(world, "GET", "/fhir/.well-known/smart-configuration", Origin=APP)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"


def test_metadata_by_a_script(world: World) -> None:
    """[A10] A script of any site may read the CapabilityStatement, without a token."""
    answer = ask(world, "GET", "/fhir/metadata", Origin=APP)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"


def test_token_endpoint_by_a_script(world: World) -> None:
    """[C8] A script may call the token endpoint and read what it says, refusals too; its preflight needs no client."""
    assert preflight(world, "/oauth/token", "POST", "content-type").headers["access-control-allow-origin"] == "*"
    answer = ask(world, "POST", "/oauth/token", Origin=APP)
    assert 400 <= answer.status_code <= 401
    assert answer.headers["access-control-allow-origin"] == "*"


def test_the_users_own_resource_by_a_script(world: World) -> None:
    """[F8] A script reads the resource behind `fhirUser` with its token, after a preflight without one."""
    assert preflight(world, "/fhir/Patient/1").status_code == 200
    answer = ask(world, "GET", "/fhir/Patient/1", "patient", Origin=APP)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    assert {"etag", "location", "content-location", "last-modified", "x-request-id", "retry-after", "www-authenticate"} <= set(
        exposed
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
def test_preflights_are_answered_without_a_token(world: World, method: str) -> None:
    """A browser asks before it sends the token: for every method, and every header that this interface knows."""
    sent = "authorization,content-type,accept,prefer,if-match,if-none-match,if-none-exist,if-modified-since,x-request-id,idempotency-key"
    answer = preflight(world, "/fhir/Patient/1", method, f"{sent},x-requested-with,purpose-of-use")
    assert answer.status_code == 200
    assert method in answer.headers["access-control-allow-methods"]
    assert int(answer.headers["access-control-max-age"]) > 0
    assert set(sent.split(",")) <= set(answer.headers["access-control-allow-headers"].lower().split(", "))


def test_refusals_can_be_read(world: World) -> None:
    """A script sees why it was refused, not just that something failed."""
    answer = ask(world, "GET", "/fhir/Patient/1", Origin=APP)
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "www-authenticate" in answer.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize("path", ["/oauth/sign-in", "/oauth/consent", "/account", "/metrics", "/"])
def test_pages_are_not_for_scripts_of_others(world: World, path: str) -> None:
    """What a browser sends cookies to is never opened to other sites."""
    assert "access-control-allow-origin" not in ask(world, "GET", path, Origin=APP).headers
    assert "access-control-allow-origin" not in preflight(world, path).headers


def test_credentials_are_never_allowed(world: World) -> None:
    """Cookies are no way in: no answer allows a script to have them sent along."""
    for answer in (ask(world, "GET", "/fhir/metadata", Origin=APP, Cookie="a=b"), preflight(world, "/fhir/metadata")):
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "allowed"), [(APP, True), ("http://localhost:9000", True), ("https://evil.example", False), ("null", False)]
)
def test_a_list_of_origins(one_origin: World, origin: str, allowed: bool) -> None:
    """With FHIR_CORS_ORIGINS only scripts of these sites may call; caches are told that the answer depends on it."""
    for answer in (ask(one_origin, "GET", "/fhir/metadata", Origin=origin), preflight(one_origin, "/fhir/Patient", origin=origin)):
        assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert "origin" in answer.headers["vary"].lower()


@pytest.mark.parametrize(
    ("path", "token"),
    [
        ("/fhir/Patient/1", "everything"),
        ("/fhir/Patient/1", ""),
        ("/fhir/nonsense", "everything"),
        ("/fhir/metadata", ""),
        ("/oauth/sign-in", ""),
        ("/oauth/token", ""),
        ("/nowhere", ""),
        ("/", ""),
        ("/livez", ""),
    ],
)
def test_every_answer_has_them(world: World, path: str, token: str) -> None:
    """Types are not guessed, nothing is framed, addresses are not passed on, and nothing says which software answers."""
    headers = ask(world, "GET", path, token).headers
    assert headers.get_list("x-content-type-options") == ["nosniff"]
    assert headers.get_list("x-frame-options") == ["DENY"]
    assert headers.get_list("referrer-policy") == ["same-origin"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "strict-transport-security" not in headers
    assert "server" not in headers


def test_records_are_kept_by_no_cache(world: World) -> None:
    """What may hold patients' data is not stored on the way or in a browser; an app that keeps its ETag is still told 304."""
    answer = ask(world, "GET", "/fhir/Patient/1", "everything")
    assert answer.headers.get_list("cache-control") == ["no-store"]
    again = ask(world, "GET", "/fhir/Patient/1", "everything", If_None_Match=answer.headers["etag"])
    assert again.status_code == 304
    assert again.headers["cache-control"] == "no-store"
    assert ask(world, "GET", "/fhir/Patient?name=door", "everything").headers["cache-control"] == "no-store"


def test_https_stays_https(one_origin: World) -> None:
    """Where the base URL is https, browsers are told to come by https only."""
    for path in ("/fhir/metadata", "/oauth/sign-in"):
        assert ask(one_origin, "GET", path).headers["strict-transport-security"] == "max-age=31536000"


EVIL = "https://evil.example"


@pytest.mark.parametrize(
    ("method", "path", "body"), [("GET", "Patient", ""), ("POST", "Binary", "any text"), ("POST", "Patient/_search", "name=door")]
)
def test_scripts_of_other_sites_where_nobody_signs_in(api: httpx.Client, method: str, path: str, body: str) -> None:
    """Without sign-in a page of another web site neither reads nor writes what this machine keeps; pages of this machine do."""
    kind = "text/plain" if path == "Binary" else "application/x-www-form-urlencoded"
    headers = {"Content-Type": kind} if body else {}
    assert api.request(method, path, content=body, headers=headers | {"Origin": EVIL}).status_code == 403
    assert api.request(method, path, content=body, headers=headers | {"Origin": "null"}).status_code == 403
    assert api.request(method, path, content=body, headers=headers | {"Origin": "http://localhost:3000"}).is_success
