/* The password reset page, and the reference client of the svc face:
 *
 *   bootstrap.authn -> token -> WebSocket /-/websocket/?otak=token -> sys.hello: socket_id
 *   otp.send -> otp.verify -> otp.set_password, each with the socket_id -> signed in
 *
 * The socket is opened again whenever it goes, and what was typed stays. No framework, no storage.
 */
"use strict";

const CALL_MS = 30_000; // longer than the server takes to give up by itself
const SOCKET_MS = 10_000;
const SILENCE_MS = 45_000; // the server says something every 15 s
const RETRY_MS = { first: 500, most: 30_000 };
const STEPS = ["email", "code", "password", "done"];
const ABOUT_THE_FIELD = ["no-user", "wrong-code", "WEAK_PASSWORD"];
const UNREACHABLE = { name: "NETWORK", waitS: 0, reason: "" };

const language = chooseLanguage(navigator.languages ?? [navigator.language]);
const texts = TEXTS[language];
const $ = (id) => document.getElementById(id);

/* ---- Calls ---- */

/* One call: what it gave and when, or its failure. Never throws. */
async function call(service, parameters) {
  try {
    const response = await fetch(`/-/svc/${service}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(parameters),
      credentials: "same-origin",
      redirect: "error",
      signal: AbortSignal.timeout(CALL_MS),
    });
    const text = await response.text();
    const answer = text.startsWith("{") ? JSON.parse(text) : {}; // a proxy's page is no answer
    const failure = failureOf(response.status, answer, response.headers.get("Retry-After"));
    return { data: answer.data ?? {}, at: answer.__timestamp__, failure };
  } catch {
    return { data: {}, failure: UNREACHABLE };
  }
}

/* ---- The socket ---- */

/* The session's bound socket. `told(state, failure)` hears "open", "restarting" and "offline". */
function keepSocket(told, greeted) {
  let turn = 0; // what belongs to an earlier turn is ignored
  let web = null;
  let id = null;
  let tries = 0;
  let timer = 0;
  let waiting = [];

  function drop() {
    turn += 1;
    clearTimeout(timer);
    web?.close();
    web = null;
    id = null;
  }

  function lost(state, failure) {
    drop();
    told(state, failure);
    waiting.splice(0).forEach((take) => take({ failure: failure ?? UNREACHABLE }));
    const pause = Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** tries) * (0.5 + Math.random() / 2);
    tries += 1;
    timer = setTimeout(renew, Math.max(pause, 1000 * (failure?.waitS ?? 0)));
  }

  function heard(message) {
    clearTimeout(timer);
    timer = setTimeout(lost, SILENCE_MS, "offline");
    if (message.service !== "sys.hello") return;
    tries = 0;
    id = message.data.socket_id;
    waiting.splice(0).forEach((take) => take({ socket_id: id }));
    greeted(message.data.user ?? null);
    told("open");
  }

  async function renew() {
    drop();
    const mine = turn;
    const { data, failure } = await call("bootstrap.authn", {});
    if (mine !== turn) return;
    if (failure) return lost(failure.name === "DRAINING" ? "restarting" : "offline", failure);
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const token = encodeURIComponent(data.token);
    web = new WebSocket(`${scheme}://${location.host}/-/websocket/?otak=${token}`, "service");
    timer = setTimeout(lost, SOCKET_MS, "offline");
    web.onmessage = (event) => mine === turn && heard(JSON.parse(event.data));
    web.onclose = (event) => mine === turn && lost(event.code === 1001 ? "restarting" : "offline");
  }

  /* { socket_id }, as soon as there is one, or the { failure } to get one. */
  function ready() {
    if (id !== null) return Promise.resolve({ socket_id: id });
    if (web === null && tries > 0) renew(); // somebody waits: do not pause any longer
    return new Promise((take) => waiting.push(take));
  }

  const wake = () => document.visibilityState === "visible" && id === null && renew();
  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  return { drop, ready, renew };
}

let link = ""; // what the socket's state was before

function linked(state, failure) {
  const known = state === "offline" && link === "restarting" ? link : state; // it said so itself
  if (state === "open") $("connection").textContent = link === "" || link === state ? "" : texts.online;
  else $("connection").textContent = failure?.waitS ? problemText(language, failure) : texts[known];
  link = known;
}

const socket = keepSocket(linked, signedIn);

/* A call that names the socket. Refused for the socket, it is made once more with a new one. */
async function ask(service, parameters) {
  for (let again = true; ; again = false) {
    const { socket_id, failure } = await socket.ready();
    if (failure) return { data: {}, failure };
    const answer = await call(service, { ...parameters, socket_id });
    if (answer.failure?.name !== "no-socket" || !again) return answer;
    tell(texts.renewed);
    socket.renew();
  }
}

/* ---- The page ---- */

let reset = null; // { email, uid, secret, code } of the newest code
let expiring = 0;
let busy = false;

function tell(text) {
  $("status").textContent = text;
}

function signedIn(user) {
  $("session").hidden = user === null;
  $("who").textContent = user === null ? "" : fill(texts.signedInAs, { email: user.email });
}

/* Show one step, and put the focus where it begins. */
function show(step) {
  for (const other of STEPS) $(other === "done" ? other : `${other}-form`).hidden = other !== step;
  const first = $(step === "done" ? "done-title" : step);
  document.title = first.closest(".step").querySelector("h2").textContent;
  first.focus();
}

function excuse(step) {
  $(`${step}-error`).hidden = true;
  $(step).removeAttribute("aria-invalid");
}

/* Say at a step's field what is wrong: with the field, or with something that leaves it as it is. */
function complain(step, text, isField = true) {
  $(`${step}-error`).textContent = text;
  $(`${step}-error`).hidden = false;
  $(step).focus();
  if (!isField) return;
  $(step).setAttribute("aria-invalid", "true");
  $(step).select();
}

function complainOf(step, failure) {
  complain(step, problemText(language, failure), ABOUT_THE_FIELD.includes(failure.name));
}

/* Keep buttons still for as long as the server asked, and count down on them. */
function rest(buttons, failure) {
  if (failure.name !== "RATE_LIMITED") return;
  const end = performance.now() + 1000 * Math.max(1, failure.waitS);
  const tick = () => {
    const left = Math.ceil((end - performance.now()) / 1000);
    for (const button of buttons) {
      const clock = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
      button.textContent = texts[button.dataset.text] + (left > 0 ? ` (${clock})` : "");
      if (left > 0) button.setAttribute("aria-disabled", "true");
      else button.removeAttribute("aria-disabled");
    }
    if (left > 0) setTimeout(tick, 1000);
  };
  tick();
}

/* Do what a button is for, one thing at a time. */
async function act(step, button, deed) {
  if (busy || button.getAttribute("aria-disabled")) return;
  const form = $(`${step}-form`);
  busy = true;
  form.setAttribute("aria-busy", "true");
  excuse(step);
  tell("");
  if (link === "open") $("connection").textContent = "";
  try {
    await deed();
  } finally {
    busy = false;
    form.removeAttribute("aria-busy");
  }
}

const submitOf = (step) => $(`${step}-form`).querySelector("button[type=submit]");

/* Ask for a code; `step` is where that was wanted. */
async function send(step, email) {
  const { data, failure } = await ask("otp.send", { email });
  if (failure) {
    rest([submitOf("email"), $("resend"), $("new-code")], failure);
    return complainOf(step, failure);
  }
  const again = step !== "email";
  reset = { email, uid: data.uid ?? email, secret: data.secret, code: "" };
  clearTimeout(expiring);
  $("code").value = "";
  $("account").value = email;
  $("code-hint").textContent = fill(data.uid ? texts.sentTo : texts.maybeSentTo, { email });
  excuse("code");
  excuse("password");
  show("code");
  if (!data.sent) complain("code", texts.notSent, false);
  else if (again) tell(texts.resent);
}

async function verify(code) {
  const { email, secret } = reset;
  const { data, at, failure } = await ask("otp.verify", { email, secret, code });
  if (failure?.name === "no-user") show("email");
  if (failure) {
    rest([submitOf("code")], failure);
    return complainOf(failure.name === "no-user" ? "email" : "code", failure);
  }
  reset.code = code;
  clearTimeout(expiring);
  const left = 1000 * data.expiry - (at ?? Date.now());
  expiring = setTimeout(() => reset && complain("password", texts.lateCode, false), left);
  show("password");
}

async function change(password) {
  const { uid, secret, code } = reset;
  const { data, failure } = await ask("otp.set_password", { uid, secret, code, password });
  if (failure) {
    rest([submitOf("password")], failure);
    if (failure.name === "wrong-code") return complain("password", texts.lateCode, false);
    const unsure = ["NETWORK", "TIMEOUT"].includes(failure.name);
    if (unsure) return complain("password", texts.unsure, false);
    if (failure.name === "no-user") show("email");
    return complainOf(failure.name === "no-user" ? "email" : "password", failure);
  }
  reset = null;
  for (const field of ["code", "password", "account"]) $(field).value = "";
  signedIn(data.user);
  show("done");
}

async function signOut() {
  socket.drop(); // it would be ended anyway
  const { failure } = await call("session.sign_out", {});
  socket.renew();
  if (failure) return tell(problemText(language, failure));
  signedIn(null);
  show("email");
  tell(texts.signedOut);
}

/* What is wrong with a field as it is typed; null: nothing. The server judges the rest. */
const WRITTEN = {
  email: (field) => (/^[^@\s]+@[^@\s]+$/.test(field.value.trim()) ? null : texts.badEmail),
  code: (field) => (/^\p{Nd}{6}$/u.test(field.value.replace(/[\s-]/g, "")) ? null : texts.badCode),
  password: (field) => {
    const length = [...field.value.normalize("NFKC")].length;
    if (length < 8) return texts.tooShort;
    return length > 128 ? texts.tooLong : null;
  },
};

function onSubmit(step, deed) {
  $(`${step}-form`).addEventListener("submit", (event) => {
    event.preventDefault();
    act(step, submitOf(step), async () => {
      const wrong = WRITTEN[step]($(step));
      if (wrong) complain(step, wrong);
      else await deed($(step).value);
    });
  });
}

function onClick(id, step, deed) {
  $(id).addEventListener("click", () => act(step, $(id), deed));
}

document.documentElement.lang = language;
for (const element of document.querySelectorAll("[data-text]")) {
  element.textContent = texts[element.dataset.text];
}
onSubmit("email", (email) => send("email", email.trim()));
onSubmit("code", verify);
onSubmit("password", change);
onClick("resend", "code", () => send("code", reset.email));
onClick("new-code", "password", () => send("password", reset.email));
onClick("other-email", "code", () => show("email"));
onClick("sign-out", "email", signOut);
$("show").addEventListener("click", () => {
  const hidden = $("password").type === "password";
  $("password").type = hidden ? "text" : "password";
  $("show").setAttribute("aria-pressed", String(hidden));
});
show("email");
socket.renew();
