// Who labels: the token, kept for this tab alone, or a name where the service has no keys.

import { Api, Refused } from "./api.js";
import { $, h, say, show } from "./dom.js";

const KEY = "relabel:credentials";

/** The token of a link `#token=...`, taken out of the address so that it is not passed on. */
function fromFragment() {
  const found = /(?:^#|&)token=([^&]+)/.exec(location.hash);
  if (!found) return null;
  const rest = location.hash.replace(/&?token=[^&]+/, "");
  history.replaceState(null, "", rest === "#" || !rest ? location.pathname : rest);
  return { token: decodeURIComponent(found[1]) };
}

export function remembered() {
  const given = fromFragment();
  if (given) sessionStorage.setItem(KEY, JSON.stringify(given));
  return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
}

export function forget() {
  sessionStorage.removeItem(KEY);
  $("who").replaceChildren();
}

/** Credentials that the service takes: those remembered, or asked for until they are taken. */
export async function signIn(reason = "") {
  let credentials = reason ? null : remembered();
  let message = reason;
  for (;;) {
    credentials ??= await ask(message);
    const api = new Api(credentials);
    try {
      await api.call("ListCampaigns", { pageSize: 1 });
    } catch (error) {
      if (!(error instanceof Refused) || !["unauthenticated", "permission_denied"].includes(error.code)) throw error;
      [credentials, message] = [null, error.message];
      continue;
    }
    sessionStorage.setItem(KEY, JSON.stringify(credentials));
    const session = { api, ...identity(credentials) };
    showWho(session);
    return session;
  }
}

function showWho({ name, roles }) {
  $("who").replaceChildren(
    `${name} (${roles.join(", ")}) `,
    h("button", { type: "button", onclick: () => (forget(), location.reload()) }, "Sign out"),
  );
}

/** Name and roles as the token states them; the service checks it, the page only shows it. */
function identity({ token, labeler }) {
  if (!token) return { name: labeler, roles: ["labeler", "adjudicator", "admin"] };
  try {
    const bytes = Uint8Array.from(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (c) =>
      c.charCodeAt(0),
    );
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    return { name: String(claims.sub), roles: [claims.role ?? "labeler"] };
  } catch {
    return { name: "signed in", roles: ["labeler"] };
  }
}

async function needsToken() {
  try {
    await new Api({ labeler: "page" }).call("ListCampaigns", { pageSize: 1 });
    return false;
  } catch (error) {
    if (error instanceof Refused) return true;
    throw error;
  }
}

async function ask(message) {
  const isToken = await needsToken();
  return new Promise((resolve) => {
    const input = h("input", {
      id: "credential",
      name: "credential",
      type: isToken ? "password" : "text",
      autocomplete: "off",
      required: true,
    });
    const form = h(
      "form",
      { class: "sign-in" },
      h("h2", {}, "Who labels?"),
      h("label", { for: "credential" }, isToken ? "Your token" : "Your name"),
      input,
      h(
        "p",
        {},
        isToken
          ? "Get a token from whoever runs the campaign. It stays in this tab until you close it."
          : "This service has no keys and is for this machine alone: a name is enough.",
      ),
      message ? h("p", { role: "alert", class: "fault" }, message) : null,
      h("button", { type: "submit" }, "Go on"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const value = input.value.trim();
      resolve(isToken ? { token: value } : { labeler: value });
    });
    show(form);
    input.focus();
    say(message);
  });
}
