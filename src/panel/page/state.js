// What the events of the feed add up to: contacts with their legs, pops and turns. No DOM here.

/** All contacts of this screen. */
export class Contacts {
  constructor() {
    this.map = new Map();
  }

  clear() {
    this.map.clear();
  }

  /** Replaces a contact by its snapshot: the same events, replayed. */
  replace(view) {
    const contact = blank(view.contact);
    contact.omittedTurns = view.omitted_turns;
    contact.omittedEvents = view.omitted_events;
    for (const event of view.events) take(contact, event);
    contact.asof = numberOf(view.asof);
    this.map.set(view.contact, contact);
    return contact;
  }

  /** Takes one live event in; `null` when a snapshot has it already. */
  apply(event, feedId) {
    const id = contactOf(event);
    if (!id) return null;
    let contact = this.map.get(id);
    if (!contact) this.map.set(id, (contact = blank(id)));
    if (numberOf(feedId) <= contact.asof) return null;
    take(contact, event);
    return contact;
  }

  /** Keeps the last `most` ended contacts and `all` together; a screen stays open all day. */
  trim(most, all, except) {
    const ended = [...this.map.values()].filter((contact) => contact.ended && contact.id !== except);
    ended.sort((left, right) => left.ended.at - right.ended.at);
    for (const contact of ended.slice(0, Math.max(0, ended.length - most))) this.map.delete(contact.id);
    const oldest = this.map.size > all ? [...this.map.values()].sort((left, right) => left.since - right.since) : [];
    for (const contact of oldest.slice(0, oldest.length - all)) if (contact.id !== except) this.map.delete(contact.id);
  }
}

function blank(id) {
  return {
    id, asof: 0, caller: null, called: "", line: "", queue: "", since: 0, queued: 0,
    legs: new Map(), pops: new Map(), turns: [], known: new Map(), running: new Map(),
    transfers: [], links: new Map(), parked: null,
    contexts: new Map(), handovers: new Map(), marks: new Map(), note: "",
    omittedTurns: 0, omittedEvents: 0, delayed: null, paused: null, ended: null, document: null,
  };
}

const contactOf = (event) => /^contact\/([^/]+)/.exec(event.subject ?? "")?.[1];
const numberOf = (feedId) => Number(String(feedId).split("-")[1] ?? 0);
const ms = (time) => (typeof time === "number" ? time / 1000 : Date.parse(time));

function take(contact, event) {
  const at = ms(event.time);
  const data = event.data ?? {};
  contact.since = contact.since ? Math.min(contact.since, at) : at;
  const handler = HANDLERS[String(event.type).replace(/^kakehashi\./, "").replace(/\.v1$/, "")];
  handler?.(contact, data, at, event);
}

const HANDLERS = {
  "call.queued": (contact, data, at) => {
    who(contact, data);
    contact.queued ||= at;
  },
  "call.offered": (contact, data, at) => leg(contact, data, { state: "offered", offered: at }),
  "call.ringing": (contact, data, at) => leg(contact, data, { state: "ringing", ringing: at }),
  "call.answered": (contact, data, at) => {
    contact.parked = null;
    leg(contact, data, { state: "answered", answered: at });
  },
  "call.held": (contact, data, at) => leg(contact, data, { state: "held", held: at }),
  "call.resumed": (contact, data) => leg(contact, data, { state: "answered", held: 0 }),
  "call.transferred": (contact, data, at) => {
    contact.parked = null;
    contact.transfers.push({ kind: data.kind, from: data.from_agent, to: data.to_agent ?? null, target: data.target ?? null, at });
  },
  "call.parked": (contact, data, at) => {
    contact.parked = { slot: data.slot ?? null, by: data.from_agent ?? null, at };
  },
  "contact.linked": (contact, data) => contact.links.set(data.contact, { contact: data.contact, relation: data.relation, kind: data.kind }),
  "call.abandoned": (contact, data, at) => {
    who(contact, data);
    contact.ended ??= { at, reason: "abandoned" };
  },
  "call.ended": (contact, data, at, event) => {
    who(contact, data);
    for (const record of data.legs ?? []) endLeg(contact, record, data.reason, at);
    if (data.started) contact.since = Math.min(contact.since, ms(data.started));
    if (/\/leg\//.test(event.subject)) return;
    contact.ended = { at, reason: data.reason };
    for (const one of contact.legs.values()) if (one.state !== "ended") Object.assign(one, { state: "ended", ended: at });
  },
  "transcript.partial": (contact, data) => {
    // a final has the last word, whatever comes in whatever order
    if (contact.known.has(data.utterance) || contact.document || (contact.running.get(data.utterance)?.revision ?? 0) >= data.revision) return;
    contact.running.set(data.utterance, {
      key: data.utterance, speaker: data.speaker, start: ms(data.start), revision: data.revision,
      stable: data.stable ?? "", tail: data.tail ?? "", withdrawn: Boolean(data.withdrawn),
    });
  },
  "transcript.final": (contact, data, at) => {
    contact.running.delete(data.utterance);
    turn(contact, {
      key: data.utterance, speaker: data.speaker, leg: data.leg, start: ms(data.start), end: ms(data.end),
      text: data.text ?? "", corrections: data.corrections ?? [], gaps: data.gaps ?? [], confidence: data.confidence,
      caughtUp: Boolean(data.caught_up), failed: false,
    });
    // recognition is level with the conversation again
    if (contact.delayed && !data.caught_up && at - ms(data.end) < 5000) contact.delayed = null;
  },
  "recording.paused": (contact, data, at) => pause(contact, data, at),
  "recording.resumed": (contact, data, at) => pause(contact, data, at),
  "transcript.corrected": (contact, data) => {
    // its turn may have been left out
    const one = contact.known.get(data.utterance);
    if (one) rewrite(one, data.text, { revision: data.revision, agent: data.agent ?? "", from: data.from, before: data.before });
  },
  "transcript.delayed": (contact, data, at) => {
    contact.delayed = data.waiting > 0 ? { waiting: data.waiting, behind: data.behind_ms, at } : null;
  },
  "transcript.document": (contact, data) => {
    if (contact.document && contact.document.revision > data.revision) return;
    contact.document = { revision: data.revision, complete: data.complete, coverage: data.coverage ?? [] };
    contact.delayed = null;
    contact.running.clear();
    for (const one of data.turns ?? []) {
      const failed = one.text === null || one.text === undefined;
      turn(contact, {
        key: one.utterance, speaker: one.speaker, leg: one.leg, start: ms(one.start), end: ms(one.end),
        text: one.text ?? "", corrections: one.corrections ?? [], gaps: [], confidence: 1, caughtUp: false, failed,
      });
      const known = contact.known.get(one.utterance);
      if (known && one.corrected) rewrite(known, one.text, { revision: one.corrected, agent: "", from: "", before: "" });
    }
  },
  "contact.context": (contact, data) => {
    const before = contact.contexts.get(data.context);
    if (before && before.version > data.version) return;
    if (data.removed) contact.contexts.delete(data.context);
    else contact.contexts.set(data.context, data);
  },
  "contact.handover": (contact, data) => {
    const before = contact.handovers.get(data.handover);
    // of a line whose texts stay here there are two: the one with the text is worth more
    if (before && (before.revision > data.revision || (data.withheld && !before.withheld))) return;
    contact.handovers.set(data.handover, data);
  },
  "contact.marked": (contact, data) => contact.marks.set(data.utterance, { mark: data.mark, note: data.note ?? "" }),
  "contact.unmarked": (contact, data) => contact.marks.delete(data.utterance),
  "contact.note": (contact, data) => {
    contact.note = data.text ?? "";
  },
  screenpop: (contact, data, at) => {
    who(contact, data);
    if (data.line) contact.line = data.line;
    const before = contact.pops.get(data.popid);
    if (before && before.revision >= data.revision) return;
    contact.pops.set(data.popid, { ...data, at: before?.at ?? at, withdrawn: before?.withdrawn ?? null });
  },
  "screenpop.withdrawn": (contact, data, at) => {
    const pop = contact.pops.get(data.popid);
    if (pop) pop.withdrawn = { at, reason: data.reason };
    // the end of the leg follows after its commit; the telephone is silent already
    const rings = contact.legs.get(data.leg);
    if (rings && !rings.answered && rings.state !== "ended") Object.assign(rings, { state: "ended", ended: at, reason: null });
  },
};

/** Each of these events says what is paused from then on; `since` is when the first of it began. */
function pause(contact, data, at) {
  const paused = data.record_paused || data.transcribe_paused;
  contact.paused = paused
    ? { record: data.record_paused, transcribe: data.transcribe_paused, since: contact.paused?.since ?? at, hold: data.cause === "hold", restart: data.reason === "bridge_restart" }
    : null;
}

function who(contact, data) {
  if (data.caller) contact.caller = data.caller;
  if (data.called) contact.called = data.called;
  if (data.queue) contact.queue = data.queue;
}

function leg(contact, data, change) {
  who(contact, data);
  const before = contact.legs.get(data.leg) ?? { id: data.leg, offered: change.offered ?? change.ringing ?? change.answered };
  if (before.state === "ended") return;
  // facts may repeat out of order: a telephone that was answered does not ring again
  if (before.answered && (change.state === "ringing" || change.state === "offered")) return;
  contact.legs.set(data.leg, {
    ...before, agent: data.agent, tier: data.tier, queue: data.queue, previous: data.previous_leg ?? null, ...change,
  });
}

function endLeg(contact, record, reason, at) {
  const before = contact.legs.get(record.leg) ?? { id: record.leg };
  const time = (value) => (value === undefined || value === null ? undefined : ms(value));
  contact.legs.set(record.leg, {
    ...before, agent: record.agent, tier: record.tier, queue: record.queue, previous: record.previous_leg ?? null,
    offered: time(record.offered) ?? before.offered, ringing: time(record.ringing) ?? before.ringing,
    answered: time(record.answered) ?? before.answered, ended: time(record.ended) ?? at,
    reason: record.reason ?? reason, state: "ended",
  });
}

/** What is being said now, in order of time. */
export function runningTurns(contact) {
  return [...contact.running.values()].filter((one) => !one.withdrawn && (one.stable + one.tail).trim()).sort((left, right) => left.start - right.start);
}

/** Turns are in order of time, whatever order they come in; a final never changes, only a failure may get its text later. */
function turn(contact, one) {
  if (!one.failed && !one.text.trim()) return;
  const before = contact.known.get(one.key);
  if (before) {
    if (before.failed && !one.failed) Object.assign(before, one);
    return;
  }
  contact.known.set(one.key, one);
  let at = contact.turns.length;
  while (at > 0 && contact.turns[at - 1].start > one.start) at -= 1;
  contact.turns.splice(at, 0, one);
}

/** A person put a text right; `heard` stays what the final said. */
function rewrite(one, text, corrected) {
  if (one.failed || (one.corrected?.revision ?? 0) >= corrected.revision) return;
  one.heard ??= one.text;
  Object.assign(one, { text, corrections: [], corrected });
}

/** ringing, talking, held, queued or ended. */
export function stateOf(contact) {
  const legs = [...contact.legs.values()];
  if (contact.ended) return "ended";
  if (legs.some((one) => one.state === "answered")) return "talking";
  if (legs.some((one) => one.state === "held")) return "held";
  if (openPops(contact).length || legs.some((one) => one.state === "ringing" || one.state === "offered")) return "ringing";
  return legs.length && legs.every((one) => one.state === "ended") && !contact.queued ? "ended" : "queued";
}

/** Pops that are still to be shown: not withdrawn, their telephone not answered, the call not over. */
export function openPops(contact) {
  if (contact.ended) return [];
  return [...contact.pops.values()].filter((pop) => {
    const state = contact.legs.get(pop.leg)?.state;
    return !pop.withdrawn && state !== "answered" && state !== "held" && state !== "ended";
  });
}

/** Whether the contact concerns the telephones of `mine`: one of them rings, or answered it. */
export function concerns(contact, mine) {
  return openPops(contact).some((pop) => mine(pop.agent)) || [...contact.legs.values()].some((one) => one.agent && mine(one.agent)
    && (one.answered || (one.state !== "ended" && !contact.ended)));
}

/** The leg that speaks with the caller, else the last one that did. */
export function currentLeg(contact) {
  const legs = [...contact.legs.values()].filter((one) => one.answered);
  return legs.find((one) => one.state === "answered") ?? legs.find((one) => one.state === "held") ?? legs.at(-1) ?? null;
}

/** The pop of the answering leg, else the newest one: it says who may be calling and why. */
export function bestPop(contact) {
  const pops = [...contact.pops.values()];
  const current = currentLeg(contact);
  return pops.find((pop) => pop.leg === current?.id) ?? pops.at(-1) ?? null;
}
