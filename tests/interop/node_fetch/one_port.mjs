// Calls of both kinds, one after the other, by Node's fetch.
//
//   node one_port.mjs URL
//
// Prints the status and the size of each answer.
const [base] = process.argv.slice(2);
const guess = {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ otp: "123456" }),
};
const calls = [
  ["/device/otp/confirm", guess],
  ["/device/otp/confirm", guess],
  ["/device/server-time", {}],
  ["/device/otp/confirm", guess],
  ["/-/reset", {}],
];
for (const [path, options] of calls) {
  const answer = await fetch(base + path, { ...options, signal: AbortSignal.timeout(20_000) });
  console.log(answer.status, (await answer.arrayBuffer()).byteLength);
}
