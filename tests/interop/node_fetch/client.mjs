// A back end on Node's fetch: a token, an OTP process, and the codes that come on standard input.
//
//   node client.mjs URL CLIENT_ID CLIENT_SECRET TYPE EMAIL
//
// Prints the uuid of the process, then for each code whether it was accepted.
import { createInterface } from "node:readline";

const [base, clientId, clientSecret, type, email] = process.argv.slice(2);

async function ask(method, path, headers, body) {
  const answer = await fetch(base + path, {
    method,
    headers,
    body,
    redirect: "error",
    signal: AbortSignal.timeout(20_000),
  });
  const said = await answer.json();
  if (!answer.ok) {
    throw new Error(`${path}: ${answer.status} ${JSON.stringify(said.error)}`);
  }
  return said;
}

const { access_token: token } = await ask(
  "POST",
  "/oauth/token",
  {},
  new URLSearchParams({
    grant_type: "client_credentials",
    client_id: clientId,
    client_secret: clientSecret,
  }),
);
const headers = { bsauth: token, "Content-Type": "application/json" };
const started = await ask("POST", "/api/otp/init", headers, JSON.stringify({ type, email }));
console.log(started.data.uuid);
for await (const code of createInterface({ input: process.stdin })) {
  const path = `/api/otp/${started.data.uuid}/attempt`;
  const tried = await ask("PUT", path, headers, JSON.stringify({ code }));
  console.log(tried.data.accepted);
}
