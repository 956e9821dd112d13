// What an app shows: the patient of the launch, its user, what was granted, and a few observations.
const show = (id, text) => { document.getElementById(id).textContent = text; };

async function begin() {
  const client = await FHIR.oauth2.ready();
  const patient = client.patient.id ? await client.patient.read() : null;
  show("name", patient ? patient.name.map((n) => [...(n.given || []), n.family].join(" "))[0] : "no patient");
  show("scope", client.state.tokenResponse.scope);
  show("encounter", client.encounter.id || "");
  show("user", client.user.fhirUser || "");
  if (client.patient.id && /Observation/.test(client.state.tokenResponse.scope)) {
    const found = await client.request(`Observation?patient=${client.patient.id}&_count=3`);
    for (const entry of found.entry || []) {
      const line = document.createElement("li");
      line.textContent = entry.resource.code.text || entry.resource.code.coding[0].display;
      document.getElementById("observations").append(line);
    }
  }
  document.getElementById("refresh").onclick = async () => {
    const before = client.state.tokenResponse.access_token;
    await attempt(async () => {
      await client.refresh();
      return client.state.tokenResponse.access_token !== before ? "another token" : "the same token";
    });
  };
  document.getElementById("again").onclick = () => attempt(async () => {
    const answer = await fetch(`${client.state.serverUrl}/Patient/${client.patient.id}`, {
      headers: { authorization: client.getAuthorizationHeader() },
    });
    return String(answer.status);
  });
  document.title = "Ready";
}

async function attempt(action) {
  show("done", "");
  try {
    show("done", await action());
  } catch (error) {
    show("done", `failed: ${error.message}`);
  }
}

begin().catch((error) => { document.title = "Failed"; show("done", String(error)); });
