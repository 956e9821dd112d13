// Asks the browser for a passkey and sends its answer as a field of the form; everything is decided on the server.
"use strict";

const toBytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const toText = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

const withBytes = (list) => (list || []).map((each) => ({ ...each, id: toBytes(each.id) }));

function readable(options) {
  const made = { ...options, challenge: toBytes(options.challenge) };
  if (options.user) made.user = { ...options.user, id: toBytes(options.user.id) };
  if (options.excludeCredentials) made.excludeCredentials = withBytes(options.excludeCredentials);
  if (options.allowCredentials) made.allowCredentials = withBytes(options.allowCredentials);
  return made;
}

function sendable(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = toText(credential.response[name]);
  }
  return JSON.stringify({
    id: credential.id, rawId: toText(credential.rawId), type: credential.type, response, clientExtensionResults: {},
  });
}

const sentences = {
  NotAllowedError: "Nothing was chosen, or it took too long. Try again.",
  InvalidStateError: "This device is one of your passkeys already.",
  SecurityError: "Passkeys do not work at this address.",
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const button = form.querySelector("button"), says = form.querySelector("[data-says]");
  if (!window.PublicKeyCredential) {
    says.textContent = "This browser has no passkeys.";
    continue;
  }
  says.textContent = "";
  button.disabled = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    says.textContent = "Follow what the browser asks.";
    try {
      const publicKey = readable(JSON.parse(form.dataset.options));
      const credential = await navigator.credentials[form.dataset.passkey]({ publicKey });
      form.elements.namedItem("credential").value = sendable(credential);
      form.submit();
    } catch (failure) {
      says.textContent = sentences[failure.name] || "The passkey could not be used.";
      button.disabled = false;
    }
  });
}
