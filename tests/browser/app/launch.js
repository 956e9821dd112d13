// Both ways to begin: with `iss` and `launch` from an EHR, or with `server` alone, standalone. Client and scopes come in the URL.
const asked = new URLSearchParams(location.search);
const options = {
  clientId: asked.get("client"),
  scope: asked.get("scope"),
  redirectUri: "index.html",
  pkceMode: "required",
};
if (asked.get("server")) options.iss = asked.get("server");
FHIR.oauth2.authorize(options).catch((error) => { document.title = "failed"; document.body.textContent = String(error); });
