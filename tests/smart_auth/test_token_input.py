"""Whatever is sent to the token endpoint is answered in OAuth's words."""

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from walking import BACK, ERRORS, SECRET, Smart

ANY = st.text(st.characters(codec="utf-8"), max_size=40)
NAMES = st.sampled_from(
    [
        "grant_type",
        "code",
        "redirect_uri",
        "code_verifier",
        "client_id",
        "client_secret",
        "refresh_token",
        "scope",
        "client_assertion",
    ]
)
VALUES = ANY | st.sampled_from(
    [
        "authorization_code",
        "refresh_token",
        "client_credentials",
        "walk-public",
        "walk-confidential",
        SECRET,
        BACK,
        "openid",
        "x" * 60,
    ]
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    form=st.lists(st.tuples(NAMES | ANY, VALUES), max_size=8),
    grant=st.sampled_from(["authorization_code", "refresh_token", "client_credentials", ""]),
    authorization=st.none() | st.sampled_from(["Basic", "Basic !", "Basic w6Q=", "Bearer x", "Digest a=b"]),
)
def test_no_form_makes_it_stumble(smart: Smart, form: list[tuple[str, str]], grant: str, authorization: str | None) -> None:
    """[D9] 400 or 401 in JSON with an error of RFC 6749 (5.2), not to be cached."""
    body = str(httpx.QueryParams([("grant_type", grant), *form] if grant else form))
    headers = {"Content-Type": "application/x-www-form-urlencoded"} | ({"Authorization": authorization} if authorization else {})
    answer = smart.browser("doc").http.post("/oauth/token", content=body, headers=headers)
    assert answer.status_code in (400, 401), answer.text
    assert answer.json()["error"] in ERRORS and "no-store" in answer.headers["cache-control"]
