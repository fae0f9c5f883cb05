
"use strict";
// Asks the calls of backends and shows what they answer. Names come from clients: everything is shown as text. The token is
// in its field and nowhere else; without one the browser asks for account and password itself.
const at = (id) => document.getElementById(id);
const put = (id, text) => { at(id).textContent = text; };
let chosen = null;
let timer = null;
let running = 0;

async function ask(path) {
  const token = at("token").value.trim();
  const headers = token ? { Authorization: "Bearer " + token } : {};
  return fetch(path, { headers, cache: "no-store", credentials: "same-origin", redirect: "error" });
}

async function told(path) {
  const answer = await ask(path);
  if (answer.status === 401) throw new Error("Not authorized: enter the token, or sign in as the super admin.");
  if (!answer.ok) throw new Error(path + ": " + answer.status + " " + (await answer.text()));
  at("partial").hidden = !answer.headers.has("X-Gusher-Partial");
  return answer.json();
}

async function badge(id, path) {
  const answer = await ask(path);
  put(id, (await answer.text()).trim());
  at(id).className = "badge " + (answer.ok ? "good" : "bad");
}

function cell(row, text) {
  const cell = row.insertCell();
  cell.textContent = text;
  return cell;
}

function showApps(apps) {
  const rows = at("rows");
  rows.replaceChildren();
  for (const { app, connections, users } of apps) {
    const row = rows.insertRow();
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = app;
    button.addEventListener("click", () => { chosen = app; refresh(); });
    cell(row, "").append(button);
    cell(row, connections);
    cell(row, users);
  }
  at("nobody").hidden = apps.length > 0;
}

function showChannels(app, channels) {
  put("name", app);
  put("count", channels.length);
  at("channels").replaceChildren(...channels.map((channel) => {
    const item = document.createElement("li");
    item.textContent = channel;
    return item;
  }));
  at("app").hidden = false;
}

async function refresh() {
  clearTimeout(timer);
  const run = ++running;
  try {
    await Promise.all([badge("health", "/healthz"), badge("ready", "/readyz")]);
    put("version", await (await ask("/version")).text());
    const totals = await told("/v1/stats");
    const apps = await told("/v1/apps");
    const app = chosen;
    const channels = app === null ? null : await told("/v1/apps/" + encodeURIComponent(app) + "/channels");
    if (run !== running) return;
    for (const name of ["apps", "connections", "users"]) put(name, totals[name]);
    showApps(apps);
    if (channels) showChannels(app, channels);
    at("fault").hidden = true;
  } catch (error) {
    if (run !== running) return;
    put("fault", error.message);
    at("fault").hidden = false;
  }
  if (at("again").checked) timer = setTimeout(refresh, 3000);
}

at("controls").addEventListener("submit", (event) => { event.preventDefault(); refresh(); });
at("again").addEventListener("change", refresh);
refresh();
