// Usage: node check.mjs http://127.0.0.1:8000/fhir. Prints each step; exit code 1 at the first that fails.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { Client } from "fhir-kit-client";

const client = new Client({ baseUrl: process.argv[2] });
const family = `Kit${randomUUID().slice(0, 8)}`;
const person = (birthDate) => ({ resourceType: "Patient", name: [{ family, given: ["Ada"] }], gender: "female", birthDate });
const create = (birthDate) => client.create({ resourceType: "Patient", body: person(birthDate) });
const refusal = async (promise) => {
  const error = await promise.then(() => assert.fail("it was not refused"), (problem) => problem);
  assert.equal(error.response?.data?.resourceType, "OperationOutcome", String(error));
  return { status: error.response.status, issues: error.response.data.issue };
};

const steps = {
  async "the capability statement names version and Patient"() {
    const statement = await client.capabilityStatement();
    assert.equal(statement.fhirVersion, "4.0.1");
    assert.ok(statement.rest[0].resource.some((resource) => resource.type === "Patient"));
  },
  async "create, read, update, vread, history"() {
    const { id } = await create("1980-01-01");
    const read = await client.read({ resourceType: "Patient", id });
    assert.equal(read.meta.versionId, "1");
    assert.equal(Client.httpFor(read).response.headers.get("etag"), 'W/"1"');
    const updated = await client.update({ resourceType: "Patient", id, body: { ...read, active: true } });
    assert.equal(updated.meta.versionId, "2");
    const first = await client.vread({ resourceType: "Patient", id, version: "1" });
    assert.equal(first.active, undefined);
    const history = await client.history({ resourceType: "Patient", id });
    assert.deepEqual(history.entry.map((entry) => entry.resource.meta.versionId), ["2", "1"]);
  },
  async "an update of an old version is refused"() {
    const { id } = await create("1981-01-01");
    const options = { headers: { "If-Match": 'W/"7"' } };
    const { status } = await refusal(client.update({ resourceType: "Patient", id, body: { ...person("1981-01-02"), id }, options }));
    assert.equal(status, 412);
  },
  async "JSON Patch"() {
    const { id } = await create("1982-01-01");
    const jsonPatch = [{ op: "replace", path: "/birthDate", value: "1982-02-02" }];
    assert.equal((await client.patch({ resourceType: "Patient", id, jsonPatch })).birthDate, "1982-02-02");
  },
  async "search by GET and POST, pages forward and back"() {
    for (let year = 1990; year < 1997; year++) await create(`${year}-01-01`);
    const searchParams = { family, birthdate: ["ge1990", "lt1997"], _sort: "birthdate", _count: 3 };
    const years = [];
    let last;
    for (let page = await client.search({ resourceType: "Patient", searchParams }); page; page = await client.nextPage({ bundle: page })) {
      years.push(...page.entry.map((entry) => Number(entry.resource.birthDate.slice(0, 4))));
      last = page;
    }
    assert.deepEqual(years, [1990, 1991, 1992, 1993, 1994, 1995, 1996]);
    assert.equal(last.entry.length, 1);
    const posted = await client.search({ resourceType: "Patient", searchParams, options: { postSearch: true } });
    assert.equal(posted.entry.length, 3);
  },
  async "compartment search, resolving references"() {
    const { id } = await create("1983-01-01");
    const participant = [{ actor: { reference: `Patient/${id}` }, status: "accepted" }];
    const made = await client.create({ resourceType: "Appointment", body: { resourceType: "Appointment", status: "proposed", participant } });
    const found = await client.search({ resourceType: "Appointment", compartment: { resourceType: "Patient", id } });
    assert.deepEqual(found.entry.map((entry) => entry.resource.id), [made.id]);
    assert.equal((await client.resolve({ reference: `Patient/${id}` })).id, id);
  },
  async "transaction and batch"() {
    const uuid = `urn:uuid:${randomUUID()}`;
    const participant = [{ actor: { reference: uuid }, status: "accepted" }];
    const entry = [
      { fullUrl: uuid, resource: person("1984-01-01"), request: { method: "POST", url: "Patient" } },
      { resource: { resourceType: "Appointment", status: "proposed", participant }, request: { method: "POST", url: "Appointment" } },
    ];
    const answer = await client.transaction({ body: { resourceType: "Bundle", type: "transaction", entry } });
    assert.deepEqual(answer.entry.map((one) => one.response.status.slice(0, 3)), ["201", "201"]);
    const gets = ["Patient?family=Nobody", "Patient/never-made"].map((url) => ({ request: { method: "GET", url } }));
    const batch = await client.batch({ body: { resourceType: "Bundle", type: "batch", entry: gets } });
    assert.deepEqual(batch.entry.map((one) => one.response.status.slice(0, 3)), ["200", "404"]);
  },
  async "operations"() {
    const input = { resourceType: "Patient", gender: "unheard-of" };
    const outcome = await client.operation({ name: "validate", resourceType: "Patient", input });
    assert.equal(outcome.resourceType, "OperationOutcome");
    const { id } = await create("1985-01-01");
    const everything = await client.operation({ name: "everything", resourceType: "Patient", id, method: "GET" });
    assert.equal(everything.entry[0].resource.id, id);
  },
  async "delete, and errors with their OperationOutcome"() {
    const { id } = await create("1986-01-01");
    await client.delete({ resourceType: "Patient", id });
    assert.equal((await refusal(client.read({ resourceType: "Patient", id }))).status, 410);
    assert.equal((await refusal(client.read({ resourceType: "Patient", id: "never-made" }))).status, 404);
    const { issues } = await refusal(client.create({ resourceType: "Patient", body: { ...person("1986-02-30"), gender: "x" } }));
    const wrong = issues.filter((issue) => issue.severity === "error");
    assert.deepEqual(wrong.map((issue) => issue.expression[0]).sort(), ["Patient.birthDate", "Patient.gender"]);
    assert.equal((await refusal(client.search({ resourceType: "Patient", searchParams: { famly: "x" } }))).status, 400);
  },
};

for (const [name, step] of Object.entries(steps)) {
  try {
    await step();
    console.log(`ok  ${name}`);
  } catch (problem) {
    console.log(`BAD ${name}\n${problem.stack}\n${JSON.stringify(problem.response?.data, null, 1) ?? ""}`);
    process.exit(1);
  }
}
