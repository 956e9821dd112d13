// Usage: node smart.mjs FHIR_BASE ROOT TOKEN, where the token is for the patient anna. Exit code 1 where something is not as it should be.
import assert from "node:assert/strict";
import { Client } from "fhir-kit-client";

const [base, root, token] = process.argv.slice(2);
const client = new Client({ baseUrl: base });
const { authorizeUrl, tokenUrl } = await client.smartAuthMetadata();
assert.equal(authorizeUrl.href, `${root}/oauth/authorize`);
assert.equal(tokenUrl.href, `${root}/oauth/token`);

const refused = async (promise) => (await promise.then(() => assert.fail("it was not refused"), (problem) => problem)).response.status;
assert.equal(await refused(client.read({ resourceType: "Patient", id: "anna" })), 401);
client.bearerToken = token;
assert.equal((await client.read({ resourceType: "Patient", id: "anna" })).id, "anna");
assert.equal(await refused(client.read({ resourceType: "Patient", id: "bert" })), 404);
assert.equal(await refused(client.search({ resourceType: "Condition", searchParams: { patient: "anna" } })), 403);
const found = await client.search({ resourceType: "Observation", searchParams: { patient: "anna" } });
assert.equal(found.entry.length, 2);
