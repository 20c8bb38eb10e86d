// The panel: keeps the connection to the feed, decides what is on the screen, draws it.

import { Contacts, concerns, currentLeg } from "./state.js";
import { Card, FAREWELL, listRow, openPops, popNode, popWords, stateOf, tick } from "./view.js";
import { callerText, clockText, dayText } from "./words.js";

const $ = (id) => document.getElementById(id);
/** Contacts kept on a screen that stays open all day: ended ones, and all together. */
const ENDED = 20;
const ALL = 600;
/** The feed says something at least every 10 s; silence of this length means that it is dead. */
const SILENCE = 25000;
const ORDER = { ringing: 0, talking: 1, held: 1, queued: 2, ended: 3 };

const contacts = new Contacts();
const card = new Card($("card"), { act, choose, mark, correct, note: memo });
const wish = new URLSearchParams(location.search);
const filter = { extension: wish.get("extension") ?? "", agent: wish.get("agent") ?? "" };
let chosen = null;
let skew = 0;
let snapshot = 0;
let dirty = false;
let announced = new Set();
const now = () => Date.now() + skew;

// --- connection -----------------------------------------------------------------------------------------------------------------

const link = { source: null, last: "", heard: 0, tries: 0, timer: 0, lostAt: 0, incoming: null };

function connect() {
  clearTimeout(link.timer);
  link.source?.close();
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(filter)) if (value) query.set(key, value);
  if (link.last) query.set("last_event_id", link.last);
  const source = new EventSource(`/v1/feed?${query}`);
  link.source = source;
  link.heard = Date.now();
  const on = (name, handle) => source.addEventListener(name, (message) => {
    if (link.source !== source) return;
    link.heard = Date.now();
    if (message.lastEventId) link.last = message.lastEventId;
    handle(JSON.parse(message.data), message);
  });
  on("beat", (data) => {
    skew = Date.parse(data.now) - Date.now();
    if (!link.incoming) connected();
  });
  on("reset", () => {
    link.last = "";
    link.incoming = [];
  });
  on("contact", (view) => {
    if (link.incoming) link.incoming.push(view);
    else draw(contacts.replace(view));
  });
  on("synced", () => {
    contacts.clear();
    for (const view of link.incoming ?? []) contacts.replace(view);
    link.incoming = null;
    snapshot += 1;
    connected();
    draw();
  });
  on("event", (event, message) => draw(contacts.apply(event, message.lastEventId)));
  source.onerror = () => link.source === source && lost();
}

function connected() {
  link.tries = 0;
  if (link.lostAt) note("再接続しました。表示は最新です。");
  link.lostAt = 0;
  setLink("live", "接続中");
  $("banner").hidden = true;
}

async function lost() {
  link.source?.close();
  link.source = null;
  link.incoming = null;
  link.lostAt ||= Date.now();
  setLink("lost", "切断");
  $("banner").hidden = false;
  $("banner").textContent = `接続が切れました（${clockText(link.lostAt + skew)}）。自動で再接続しています。通話と記録は続いています。表示は古い可能性があります。`;
  link.tries += 1;
  const wait = Math.min(8000, 500 * 2 ** Math.min(link.tries, 5)) * (0.75 + Math.random() / 2);
  clearTimeout(link.timer);
  if (await mustSignIn()) return showSignIn();
  link.timer = setTimeout(connect, wait);
}

setInterval(() => {
  if (link.source && Date.now() - link.heard > SILENCE) lost();
}, 1000);

// a screen that wakes up from sleep connects at once
for (const name of ["online", "pageshow"]) addEventListener(name, () => link.lostAt && !link.source && connect());

function setLink(state, text) {
  $("link").dataset.state = state;
  if ($("link-text").textContent !== text) $("link-text").textContent = text;
}

// --- sign-in --------------------------------------------------------------------------------------------------------------------

async function mustSignIn() {
  try {
    const answer = await (await fetch("/v1/session")).json();
    $("sign-out").hidden = !answer.token_required || !answer.signed_in;
    return answer.token_required && !answer.signed_in;
  } catch {
    return false;
  }
}

function showSignIn() {
  setLink("closed", "未サインイン");
  $("banner").hidden = true;
  contacts.clear();
  link.last = "";
  draw();
  $("main").hidden = true;
  $("sign-in").hidden = false;
  $("token").focus();
}

$("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ token: $("token").value });
  $("sign-in-error").textContent = "";
  try {
    const answer = await fetch("/v1/session", { method: "POST", headers: { "content-type": "application/json" }, body });
    if (!answer.ok) throw new Error(answer.status === 401 ? "トークンが違います。" : `サインインできませんでした（${answer.status}）。`);
    $("token").value = "";
    $("sign-in").hidden = true;
    $("main").hidden = false;
    $("sign-out").hidden = false;
    connect();
  } catch (error) {
    $("sign-in-error").textContent = error instanceof TypeError ? "架け橋に接続できません。" : error.message;
  }
});

$("sign-out").addEventListener("click", async () => {
  await fetch("/v1/session", { method: "DELETE" }).catch(() => null);
  link.source?.close();
  link.source = null;
  $("sign-out").hidden = true;
  showSignIn();
});

// --- which contacts -------------------------------------------------------------------------------------------------------------

$("extension").value = filter.extension;
$("view").addEventListener("submit", (event) => {
  event.preventDefault();
  filter.extension = $("extension").value.normalize("NFKC").trim();
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value));
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  link.last = "";
  chosen = null;
  connect();
});

// --- drawing --------------------------------------------------------------------------------------------------------------------

function draw(changed) {
  if (changed === null) return;
  if (changed) attend(changed);
  if (dirty) return;
  dirty = true;
  requestAnimationFrame(() => {
    dirty = false;
    paint();
  });
}

/** An operator's own call opens by itself when it is answered; a supervisor's choice is left alone. */
function attend(contact) {
  const other = contacts.map.get(chosen);
  const free = !other || stateOf(other) === "ended";
  const state = stateOf(contact);
  if ((state === "talking" || state === "held") && (free || (!everything() && chosen !== contact.id && stateOf(other) !== "talking"))) chosen = contact.id;
}

const everything = () => !filter.extension && !filter.agent;
const mine = (agent) => (filter.extension && agent.extension === filter.extension) || (filter.agent && agent.id === filter.agent);

/** Who has waited or talked longest comes first; of the ended, the last one. */
const age = (contact) => (contact.ended ? -contact.ended.at : contact.since);

function paint() {
  contacts.trim(ENDED, ALL, chosen);
  const all = [...contacts.map.values()].filter((contact) => (everything() ? contact.caller || contact.legs.size : concerns(contact, mine)));
  all.sort((left, right) => ORDER[stateOf(left)] - ORDER[stateOf(right)] || age(left) - age(right));
  if (!all.some((contact) => contact.id === chosen)) chosen = null;
  chosen ??= all.find((contact) => currentLeg(contact))?.id ?? null;
  paintList(all);
  const ringing = paintPops([...contacts.map.values()].sort((left, right) => age(left) - age(right)));
  const contact = contacts.map.get(chosen) ?? null;
  card.show(contact, snapshot);
  const busy = contact && ["talking", "held"].includes(stateOf(contact));
  const wide = everything() && ringing > 1;
  $("pops").classList.toggle("compact", Boolean(busy) || wide);
  $("pops").classList.toggle("wide", wide);
  $("pops").classList.toggle("alone", !contact);
  $("idle").hidden = Boolean(contact);
  $("idle").classList.toggle("low", ringing > 0);
  $("idle-title").textContent = ringing ? "電話に出ると、会話の文字がここに表示されます" : "着信を待っています";
  $("idle-note").hidden = ringing > 0;
  tick(now());
}

/** Renews only the children whose signature changed, so that a click, the focus and the place survive. */
function keyed(parent, drawn, wanted) {
  const keys = new Set(wanted.map(([key]) => key));
  for (const [key, { node }] of drawn) {
    if (keys.has(key)) continue;
    node.remove();
    drawn.delete(key);
  }
  wanted.forEach(([key, signature, make], index) => {
    const before = drawn.get(key);
    let node = before?.node;
    if (before?.signature !== signature) {
      const focused = node?.contains(document.activeElement);
      node = make();
      before?.node.replaceWith(node);
      if (focused) node.querySelector("button, a")?.focus();
      drawn.set(key, { node, signature });
    }
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
}

const drawnRows = new Map();
const drawnPops = new Map();

function paintList(all) {
  keyed($("list"), drawnRows, all.map((contact) => [contact.id, rowSignature(contact), () => listRow(contact, contact.id === chosen, choose)]));
  $("list-empty").hidden = all.length > 0;
  const count = (...states) => all.filter((contact) => states.includes(stateOf(contact))).length;
  $("counts").textContent = `呼出 ${count("ringing")}・通話 ${count("talking", "held")}・待ち ${count("queued")}`;
}

const rowSignature = (contact) => JSON.stringify([contact.id === chosen, contact.caller, contact.queued, contact.queue, contact.ended,
  [...contact.legs.values()], [...contact.pops.values()]]);

function choose(id) {
  chosen = id;
  draw();
}

function paintPops(all) {
  const wanted = [];
  let first = null;
  let ringing = 0;
  for (const contact of all) {
    const open = new Set(openPops(contact));
    for (const pop of contact.pops.values()) {
      const farewell = pop.withdrawn && pop.withdrawn.reason !== "ended" && now() - pop.withdrawn.at < FAREWELL;
      if (!open.has(pop) && !farewell) continue;
      if (open.has(pop)) {
        first ??= callerText(pop.caller).main;
        ringing += 1;
        announce(contact, pop);
      }
      const signature = JSON.stringify([pop, contact.queued, contact.queue, contact.legs.get(pop.leg)?.ringing,
        pop.transfer ? contact.turns.length : 0]);
      wanted.push([pop.popid, signature, () => popNode(contact, pop, choose)]);
    }
  }
  keyed($("pops"), drawnPops, wanted);
  document.title = first ? `【着信】${first}｜架け橋` : "応対パネル｜架け橋";
  return ringing;
}

/** Each pop is read out once when it comes, and once more when the look-up has answered. */
function announce(contact, pop) {
  const key = `${pop.popid}/${pop.lookup === "done" && pop.matches?.length ? "known" : "new"}`;
  if (announced.has(key)) return;
  if (announced.size > 500) announced = new Set();
  announced.add(key);
  $("alerts").textContent = popWords(contact, pop);
}

/** Pauses or resumes recording and transcription; gives what went wrong, or nothing. */
async function act(contact, pause) {
  try {
    const body = JSON.stringify({ scope: "both", reason: "担当者の操作" });
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`/v1/contacts/${encodeURIComponent(contact.id)}/${pause ? "pause" : "resume"}`, { method: "POST", headers, body });
    if (answer.ok) return "";
    if (answer.status === 401) showSignIn();
    if (answer.status === 404 || answer.status === 409) return "この通話は終了しています。";
    return `${pause ? "一時停止" : "再開"}できませんでした（${answer.status}）。もう一度押してください。`;
  } catch {
    return `架け橋に接続できないため、${pause ? "一時停止" : "再開"}できませんでした。`;
  }
}

/** Marks an utterance for whoever takes over, or takes `given` away; gives what went wrong, or nothing. */
async function mark(contact, utterance, given) {
  const path = `/v1/contacts/${encodeURIComponent(contact.id)}/marks`;
  return given ? send("DELETE", `${path}/${encodeURIComponent(given)}`) : send("POST", path, { utterance });
}

/** Puts the text of an utterance right, in the call or after it; gives what went wrong, or nothing. */
async function correct(contact, turn, text) {
  const agent = filter.agent || filter.extension || undefined;
  const body = { utterance: turn.key, text, revision: turn.corrected?.revision ?? 0, agent };
  const gone = { 404: "この発話の記録がありません。", 409: "ほかの人が先に訂正しました。表示を確かめて、もう一度訂正してください。" };
  return send("POST", `/v1/contacts/${encodeURIComponent(contact.id)}/corrections`, body, gone);
}

/** Keeps the note for whoever takes over; gives what went wrong, or nothing. */
async function memo(contact, text) {
  return send("POST", `/v1/contacts/${encodeURIComponent(contact.id)}/note`, { text });
}

async function send(method, path, body, words = { 404: "この通話は終了しています。" }) {
  try {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    if (answer.ok) return "";
    if (answer.status === 401) showSignIn();
    return words[answer.status] ?? `保存できませんでした（${answer.status}）。もう一度操作してください。`;
  } catch {
    return "架け橋に接続できないため、保存できませんでした。";
  }
}

function note(text) {
  $("notes").textContent = text;
}

// up and down in the list
$("list").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const rows = [...$("list").querySelectorAll("button")];
  rows[rows.indexOf(document.activeElement) + step]?.focus();
  event.preventDefault();
});

function everySecond() {
  const at = now();
  $("clock").textContent = `${dayText(at)} ${clockText(at)}`;
  tick(at);
  if ([...contacts.map.values()].some((contact) => [...contact.pops.values()].some((pop) => pop.withdrawn))) draw();
}

setInterval(everySecond, 1000);
everySecond();

(await mustSignIn()) ? showSignIn() : connect();
