// A device in JavaScript: asks for two codes and prints each answer as JSON.
//
//   node client.js URL TOKEN
"use strict";

const path = require("node:path");
const protobuf = require("protobufjs");
const WebSocket = require("ws");

const HEADER_BYTES = 3;
const FRAME_BYTES_MAX = 1024;
const DEADLINE_MS = 25_000;
const REQUESTS = [Buffer.from("130300", "hex"), Buffer.from("1305000801", "hex")];

const root = new protobuf.Root().loadSync(
  path.join(__dirname, "..", "..", "..", "proto", "device.proto"),
  { keepCase: true },
);
const OTPResponse = root.lookupType("haptics.OTPResponse");
const FrameType = root.lookupEnum("haptics.FrameType").values;

function fail(why) {
  console.error(`client.js: ${why}`);
  process.exit(1);
}

// Takes whole frames off the front of the stream; returns the bytes that are left.
function takeFrames(bytes, onFrame) {
  while (bytes.length >= HEADER_BYTES) {
    const length = bytes.readUInt16LE(1);
    if (length < HEADER_BYTES || length > FRAME_BYTES_MAX) fail(`invalid frame length ${length}`);
    if (bytes.length < length) break;
    onFrame(bytes[0], bytes.subarray(HEADER_BYTES, length));
    bytes = bytes.subarray(length);
  }
  return bytes;
}

function main(url, token) {
  setTimeout(() => fail(`no answer within ${DEADLINE_MS} ms`), DEADLINE_MS).unref();
  const socket = new WebSocket(url, { headers: { Authorization: `Bearer ${token}` } });
  let pending = Buffer.alloc(0);
  let answers = 0;

  socket.on("open", () => socket.send(REQUESTS[0]));
  socket.on("message", (data, isBinary) => {
    if (!isBinary) fail("the server sent text");
    pending = takeFrames(Buffer.concat([pending, data]), (type, payload) => {
      if (type !== FrameType.OTP_RESPONSE) fail(`unexpected frame type ${type}`);
      const { otp, expires_at_ms, error } = OTPResponse.decode(payload);
      console.log(JSON.stringify({ otp, expires_at_ms: Number(expires_at_ms), error }));
      if (error) fail(`no code: ${error}`);
      answers += 1;
      if (answers < REQUESTS.length) socket.send(REQUESTS[answers]);
      else socket.close(1000);
    });
  });
  socket.on("error", (error) => fail(error.message));
  socket.on("close", (code) => {
    if (answers < REQUESTS.length) fail(`closed ${code} after ${answers} answers`);
  });
}

if (process.argv.length !== 4) {
  console.error("usage: node client.js URL TOKEN");
  process.exit(2);
}
main(process.argv[2], process.argv[3]);
