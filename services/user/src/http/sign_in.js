"use strict";

// Signs in with a password, a passkey or both, and keeps the passkeys of whoever is signed in. The session is in a cookie
// that this script cannot read.

const at = (id) => document.getElementById(id);
const say = (text) => { at("said").textContent = text; };

class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || "the hub did not answer");
    this.status = status;
    this.code = problem.code;
  }
}

async function ask(method, path, body) {
  const options = { method, headers: {}, credentials: "same-origin" };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await fetch("/api/v1/auth" + path, options);
  const words = await answer.text();
  const json = words ? JSON.parse(words) : {};
  if (!answer.ok) throw new Refused(answer.status, json);
  return json;
}

// Browsers that read and write the JSON forms by themselves do; the others are helped.
const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
  .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const withIds = (list) => list.map((one) => ({ ...one, id: bytes(one.id) }));

function creation(options) {
  if (PublicKeyCredential.parseCreationOptionsFromJSON) return PublicKeyCredential.parseCreationOptionsFromJSON(options);
  return {
    ...options,
    challenge: bytes(options.challenge),
    user: { ...options.user, id: bytes(options.user.id) },
    excludeCredentials: withIds(options.excludeCredentials),
  };
}

function request(options) {
  if (PublicKeyCredential.parseRequestOptionsFromJSON) return PublicKeyCredential.parseRequestOptionsFromJSON(options);
  return { ...options, challenge: bytes(options.challenge), allowCredentials: withIds(options.allowCredentials) };
}

function written(credential) {
  if (credential.toJSON) return credential.toJSON();
  const said = credential.response;
  const response = { clientDataJSON: text(said.clientDataJSON) };
  if (said.attestationObject) {
    response.attestationObject = text(said.attestationObject);
    response.transports = said.getTransports ? said.getTransports() : [];
  } else {
    response.authenticatorData = text(said.authenticatorData);
    response.signature = text(said.signature);
    if (said.userHandle) response.userHandle = text(said.userHandle);
  }
  return { id: credential.id, type: credential.type, response };
}

async function withPassword() {
  const body = { username: at("username").value, password: at("password").value, browser: true };
  if (at("code").value) body.code = at("code").value;
  try {
    await ask("POST", "/login", body);
  } catch (fault) {
    if (fault.code === "second_factor_required") at("code-part").hidden = false;
    throw fault;
  }
}

async function withPasskey(body) {
  const { publicKey } = await ask("POST", "/passkeys/login/begin", body);
  const credential = await navigator.credentials.get({ publicKey: request(publicKey) });
  await ask("POST", "/passkeys/login", { credential: written(credential), browser: true });
}

async function add() {
  const begin = { password: at("current").value };
  if (at("proof").value) begin.code = at("proof").value;
  const { publicKey } = await ask("POST", "/passkeys/begin", begin);
  const credential = await navigator.credentials.create({ publicKey: creation(publicKey) });
  const added = await ask("POST", "/passkeys", { name: at("name").value, credential: written(credential) });
  at("add-form").reset();
  if (added.recovery_codes) {
    at("codes").textContent = added.recovery_codes.join("\n");
    at("codes-part").hidden = false;
  }
}

async function remove(passkey) {
  try {
    await ask("POST", `/passkeys/${passkey.id}/remove`, at("proof").value ? { code: at("proof").value } : {});
  } catch (fault) {
    if (fault.code === "second_factor_required") at("proof").focus();
    throw fault;
  }
}

function button(words, does) {
  const one = document.createElement("button");
  one.type = "button";
  one.textContent = words;
  one.addEventListener("click", () => doing(does));
  return one;
}

function line(passkey) {
  const item = document.createElement("li");
  const used = passkey.last_used_at ? `last used ${passkey.last_used_at}` : "never used";
  const name = document.createElement("input");
  name.value = passkey.name;
  name.setAttribute("aria-label", "Name");
  item.append(name, ` ${passkey.synced ? "synced, " : ""}${used} `);
  item.append(button("Rename", () => ask("PUT", `/passkeys/${passkey.id}`, { name: name.value })));
  item.append(button("Remove", () => remove(passkey)));
  return item;
}

async function show() {
  let profile = null;
  try {
    profile = await ask("GET", "/profile");
  } catch (fault) {
    if (fault.status !== 401) throw fault;
  }
  at("in").hidden = profile === null;
  at("out").hidden = profile !== null;
  if (profile === null) return;
  at("password-form").reset();
  at("who").textContent = profile.username;
  const passkeys = await ask("GET", "/passkeys");
  at("passkeys").replaceChildren(...passkeys.map(line));
}

async function leave() {
  await ask("POST", "/logout");
  at("codes-part").hidden = true;
  at("codes").textContent = "";
  at("code-part").hidden = true;
}

async function doing(does) {
  say("");
  try {
    await does();
    await show();
  } catch (fault) {
    say(fault.message);
  }
}

at("password-form").addEventListener("submit", (event) => { event.preventDefault(); doing(withPassword); });
at("with-both").addEventListener("click", () => {
  doing(() => withPasskey({ username: at("username").value, password: at("password").value }));
});
at("with-passkey").addEventListener("click", () => doing(() => withPasskey({})));
at("add-form").addEventListener("submit", (event) => { event.preventDefault(); doing(add); });
at("leave").addEventListener("click", () => doing(leave));
if (!window.PublicKeyCredential) {
  for (const id of ["with-both", "with-passkey", "add"]) at(id).disabled = true;
}
doing(async () => {});
