// The three parts of the screen: the list of contacts, the pops, and the card of the chosen contact.

import { bestPop, currentLeg, openPops, stateOf } from "./state.js";
import { Talk, el, outside } from "./talk.js";
import { COVERAGE, END, SPEAKER, TIER, WITHDRAWN, agentText, callerMarks, callerText, clockText, dateText, divertedText, lengthText, numberText, plain, spanText, webAddress } from "./words.js";
import { contextNode, handoverNode } from "./why.js";

const STATE = {
  queued: ["待", "待ち呼"], ringing: ["着", "呼出中"], talking: ["話", "通話中"], held: ["保", "保留中"], ended: ["終", "終了"],
};

/** How long a withdrawn pop says why it went, in milliseconds. */
export const FAREWELL = 6000;

function stateMark(state) {
  return el("span", { class: `state state-${state}` },
    el("span", { class: "state-sign", "aria-hidden": "true", text: STATE[state][0] }), el("span", { text: STATE[state][1] }));
}

/** A counter that `tick` keeps going. */
const counter = (since, label) => el("span", { class: "counter" },
  label && el("span", { class: "counter-label", text: label }), el("span", { class: "counter-time", "data-since": since, role: "timer" }));

/** Lets every running counter go on; `now` is the server's time. */
export function tick(now) {
  for (const node of document.querySelectorAll("[data-since]")) node.textContent = spanText(now - Number(node.dataset.since));
}

/** One row per contact, the urgent ones first. */
export function listRow(contact, chosen, choose) {
  const state = stateOf(contact);
  const caller = callerText(contact.caller);
  const pop = bestPop(contact);
  const name = pop?.matches?.length === 1 ? pop.matches[0].name : pop?.matches?.length > 1 ? `候補${pop.matches.length}件` : caller.kind;
  const current = currentLeg(contact) ?? [...contact.legs.values()].at(-1);
  const since = state === "ended" ? null : (current?.answered ?? contact.queued) || contact.since;
  const button = el("button", { type: "button", class: `row row-${state}`, "aria-current": chosen ? "true" : undefined, "data-contact": contact.id },
    el("span", { class: "row-top" }, stateMark(state), since ? counter(since) : el("span", { class: "counter", text: clockText(contact.ended?.at ?? contact.since) })),
    el("span", { class: "row-number" }, outside(caller.main, 40)),
    el("span", { class: "row-name" }, outside(name, 60)),
    el("span", { class: "row-agent" }, outside(current?.agent ? agentText(current.agent) : contact.queue ? `待ち行列 ${contact.queue}` : "", 80)));
  button.addEventListener("click", () => choose(contact.id));
  return el("li", {}, button);
}

/** The pop while the telephone rings: number, who, why, for whom. */
export function popNode(contact, pop, choose) {
  if (pop.withdrawn) return farewell(contact, pop);
  const caller = callerText(pop.caller);
  return el("article", { class: "pop", "aria-label": `着信 ${caller.main}`, "data-pop": pop.popid },
    el("header", { class: "pop-top" },
      el("span", { class: "pop-sign" }, el("span", { class: "pop-bell", "aria-hidden": "true" }), el("strong", { text: "着信中" })),
      counter(contact.legs.get(pop.leg)?.ringing ?? pop.at, "呼出"),
      contact.queued ? counter(contact.queued, "お待たせ") : null,
      el("span", { class: "pop-for" }, el("span", { class: "label", text: "宛先" }), outside(agentText(pop.agent), 140))),
    numberBlock(pop.caller, caller, "pop-number"),
    el("div", { class: "pop-grid" },
      el("section", { class: "pop-who" }, el("h3", { text: "発信者" }), whoNode(pop)),
      el("section", { class: "pop-why" }, el("h3", { text: "着信先" }), whyNode(contact, pop))),
    contextNode(pop.context),
    transferNode(contact, pop, choose),
    handoverNode(pop.handover));
}

/** Who passed the caller on, and the way to what was said until then. */
function transferNode(contact, pop, choose) {
  if (!pop?.transfer) return null;
  const way = pop.transfer.kind === "attended" ? "相談のうえ転送" : "転送";
  const turns = contact.turns.length;
  const read = choose && turns ? el("button", { type: "button", class: "quiet-button", text: `これまでの会話（${turns}件）を読む` }) : null;
  read?.addEventListener("click", () => choose(contact.id));
  return el("p", { class: "transfer" }, el("strong", { text: `${way}: 前の担当` }), outside(agentText(pop.transfer.agent), 140), read);
}

/** Contacts that belong to this one. */
function linksNode(contact, choose) {
  const links = [...contact.links.values()];
  if (!links.length && !contact.parked) return null;
  const parked = contact.parked && el("p", { class: "transfer" }, el("strong", { text: "保留中（パーク）" }),
    contact.parked.slot ? outside(`取り出し番号 ${contact.parked.slot}`, 40) : null);
  return el("div", { class: "links" }, parked, ...links.map((link) => {
    const label = link.relation === "consultation" ? "この件の相談の通話を開く" : "相談元の通話を開く";
    const button = el("button", { type: "button", class: "quiet-button", "data-link": link.contact, text: label });
    button.addEventListener("click", () => choose(link.contact));
    return button;
  }));
}

function farewell(contact, pop) {
  return el("article", { class: "pop pop-gone", "data-pop": pop.popid },
    el("span", { class: "pop-sign" }, el("strong", { text: "着信終了" })),
    el("span", {}, outside(callerText(pop.caller).main, 40)),
    el("span", { text: WITHDRAWN[pop.withdrawn.reason] ?? "取り下げられました" }));
}

function numberBlock(source, caller, cls) {
  return el("div", { class: cls },
    el("span", { class: `number${caller.dialable ? "" : " number-none"}` }, outside(caller.main, 40)),
    el("span", { class: "tag kind", text: caller.kind }),
    ...callerMarks(source).map(([mark, remark]) => el("span", { class: "remark" }, el("span", { class: "tag mark-caller", text: mark }),
      remark && el("span", { text: remark }))),
    caller.remark && el("span", { class: "remark", text: caller.remark }),
    source?.display && el("span", { class: "remark" }, el("span", { class: "label", text: "通知された名前" }), outside(source.display, 80)));
}

/** Who it may be: none, one, or many to choose from; never guessed. */
function whoNode(pop) {
  if (pop.lookup === "pending") return el("p", { class: "lookup" }, el("span", { class: "spinner", "aria-hidden": "true" }), el("span", { text: "顧客情報を照会しています…" }));
  if (pop.lookup === "skipped") return el("p", { class: "lookup", text: "番号がないため照会していません。お名前をお伺いください。" });
  const matches = pop.matches ?? [];
  const failed = pop.lookup === "failed";
  if (!matches.length) {
    return el("p", { class: `lookup${failed ? " warn" : ""}`, text: failed ? "【照会失敗】顧客情報を照会できませんでした。お名前をお伺いください。" : "登録なし（新しい発信者の可能性があります）" });
  }
  const many = matches.length > 1;
  const list = el("ul", { class: many ? "matches many" : "matches" }, ...matches.slice(0, 20).map(matchNode));
  return el("div", {},
    many && el("p", { class: "lookup", text: `この番号には${matches.length}件の登録があります。ご本人を確認してください。` }), list,
    matches.length > 20 && el("p", { class: "quiet", text: `ほか${matches.length - 20}件` }),
    failed && el("p", { class: "lookup warn", text: "【照会失敗】照会が途中で終わりました。ほかの登録があるかもしれません。" }));
}

function matchNode(match) {
  const url = webAddress(match.url);
  return el("li", { class: "match" },
    el("span", { class: "match-name" }, outside(match.name, 80)),
    match.note && el("span", { class: "match-note" }, outside(match.note, 200)),
    url && el("a", { class: "match-open", href: url, target: "_blank", rel: "noopener noreferrer", "aria-label": `${plain(match.name, 80)}をCRMで開く（新しいタブ）`, text: "CRMで開く ↗" }),
    entriesNode("未完了の案件", match.cases), entriesNode("これまでの応対", match.history));
}

/** Records of the CRM that belong to a possible caller, newest first. */
function entriesNode(label, entries) {
  if (!entries?.length) return null;
  const item = ({ title, time, state, url }) => {
    const [name, page] = [outside(title, 80), webAddress(url)];
    return el("li", {},
      Number.isFinite(time) && el("time", { text: dateText(time / 1000) }),
      page ? el("a", { class: "match-open", href: page, target: "_blank", rel: "noopener noreferrer" }, name, el("span", { "aria-hidden": "true", text: " ↗" }),
        el("span", { class: "unseen", text: "（新しいタブで開く）" })) : name,
      state && el("span", { class: "tag" }, outside(state, 40)));
  };
  return el("div", { class: "entries" }, el("h4", { text: label }), el("ul", {}, ...entries.slice(0, 5).map(item)));
}

function whyNode(contact, pop) {
  const line = pop?.line || contact.line;
  const called = numberText(pop?.called || contact.called);
  const queue = pop?.queue || contact.queue;
  const diverted = divertedText(pop?.caller ?? contact.caller);
  return el("dl", { class: "facts" },
    line && el("div", { class: "fact-line" }, el("dt", { text: "窓口" }), el("dd", {}, outside(line, 80))),
    called && el("div", {}, el("dt", { text: "番号" }), el("dd", {}, outside(called, 40))),
    diverted && el("div", {}, el("dt", { text: "転送元" }), el("dd", {}, outside(diverted, 60))),
    queue && el("div", {}, el("dt", { text: "待ち行列" }), el("dd", {}, outside(queue, 60))));
}

/** The card of the chosen contact: its head is renewed as a whole, its conversation only added to. */
export class Card {
  /** `act(contact, pause)` pauses or resumes and gives what to say when that failed; `choose(id)` opens another contact. */
  constructor(root, { act, choose, mark, correct, note }) {
    this.root = root;
    this.note = note;
    this.act = act;
    this.choose = choose;
    this.head = el("header", { class: "card-head" });
    this.banner = el("p", { class: "delay", role: "status", hidden: true });
    this.keep = el("section", { class: "keep", "aria-label": "録音と文字起こし", hidden: true });
    this.end = el("section", { class: "end", "aria-label": "通話の終了", hidden: true });
    this.sides = el("div", { class: "sides", "aria-hidden": "true" }, el("span", { text: "◀ 発信者" }), el("span", { text: "担当者 ▶" }));
    this.talk = new Talk({ mark, correct });
    this.why = el("div", { class: "card-why", tabindex: "0", role: "region", "aria-label": "なぜと引き継ぎ（スクロールできます）", hidden: true });
    this.memo = memoNode((text) => this.note(this.contact, text));
    root.append(this.head, this.why, this.keep, this.banner, this.end, this.memo.root, this.sides, this.talk.root);
    this.drawn = "";
    this.snapshot = 0;
  }

  /** Draws `contact`, or hides the card. `snapshot` changes when everything was replaced. */
  show(contact, snapshot) {
    this.root.hidden = !contact;
    this.contact = contact;
    if (!contact) {
      this.drawn = "";
      return;
    }
    const drawn = JSON.stringify([contact.id, stateOf(contact), contact.caller, contact.called, contact.line, contact.queue, contact.delayed, contact.paused,
      contact.ended, contact.document, [...contact.legs.values()], [...contact.links.values()], contact.parked, bestPop(contact),
      [...contact.contexts.values()], [...contact.handovers.values()], contact.note]);
    if (drawn !== this.drawn) {
      this.drawn = drawn;
      this.#head(contact);
      this.#why(contact);
      this.#keep(contact);
      this.#delay(contact);
      this.#end(contact);
    }
    this.talk.show(contact, snapshot !== this.snapshot);
    this.snapshot = snapshot;
  }

  #head(contact) {
    const caller = callerText(contact.caller);
    const pop = bestPop(contact);
    const current = currentLeg(contact);
    const state = stateOf(contact);
    const began = current?.answered;
    const since = state === "held" ? current?.held : began;
    this.head.replaceChildren(
      el("div", { class: "card-state" }, stateMark(state),
        state === "ended" || !since ? null : counter(since, state === "held" ? "保留" : "通話")),
      numberBlock(contact.caller, caller, "card-number"),
      el("div", { class: "card-grid" },
        el("section", {}, el("h3", { text: "発信者" }), pop ? whoNode(pop) : el("p", { class: "quiet", text: "照会の記録はありません" })),
        el("section", {}, el("h3", { text: "着信先" }), whyNode(contact, pop)),
        el("section", {}, el("h3", { text: "応対" }), wayNode(contact))),
      el("div", { class: "card-more" }, transferNode(contact, pop), linksNode(contact, this.choose)));
  }

  /** Why she calls, and what is handed over with her: to whoever has her now, else to whoever comes next. */
  #why(contact) {
    const pop = bestPop(contact);
    const contexts = contact.contexts.size ? [...contact.contexts.values()] : pop?.context;
    const parts = [contextNode(contexts), handoverNode(pop?.handover ?? [...contact.handovers.values()].at(-1))].filter(Boolean);
    this.why.hidden = parts.length === 0;
    this.why.replaceChildren(...parts);
    this.memo.show(contact);
  }

  /** What is kept of the call, and the button that pauses it. */
  #keep(contact) {
    const running = ["talking", "held"].includes(stateOf(contact));
    this.keep.hidden = !running;
    if (!running) return;
    const { paused } = contact;
    const what = paused && (paused.record && paused.transcribe ? "録音と文字起こし" : paused.record ? "録音" : "文字起こし");
    const why = paused?.hold ? "（交換機の保留）" : paused?.restart ? "（再起動前から継続）" : "";
    const said = el("span", { class: "remark", role: "status" });
    const button = el("button", { type: "button", class: "keep-button", text: paused ? "再開する" : "一時停止する", "aria-pressed": paused ? "true" : "false" });
    button.addEventListener("click", async () => {
      button.disabled = true;
      said.textContent = "";
      said.textContent = await this.act(contact, !paused);
      button.disabled = false;
    });
    const had = this.keep.contains(document.activeElement);
    this.keep.classList.toggle("keep-paused", Boolean(paused));
    this.keep.replaceChildren(
      el("strong", { class: "keep-state", role: "status", text: paused ? `■ ${what}を一時停止しています${why}` : "● 録音・文字起こしの対象です" }),
      ...(paused ? [counter(paused.since, "停止")] : []), button, said);
    if (had) button.focus();
  }

  #delay(contact) {
    const delayed = contact.ended ? null : contact.delayed;
    this.banner.hidden = !delayed;
    this.banner.textContent = delayed
      ? `【遅延】認識が会話より遅れています：${delayed.waiting}件が認識待ち、約${lengthText(delayed.behind)}の遅れ。音声は失われていません。` : "";
  }

  #end(contact) {
    this.end.hidden = !contact.ended;
    if (!contact.ended) return;
    const talked = currentLeg(contact);
    const first = [...contact.legs.values()].map((one) => one.answered).filter(Boolean).sort((left, right) => left - right)[0];
    const until = talked?.ended ?? contact.ended.at;
    this.end.replaceChildren(
      el("p", { class: "end-line" }, el("strong", { text: "通話終了" }),
        el("span", { text: END[contact.ended.reason] ?? "理由不明" }),
        el("time", { text: clockText(contact.ended.at) }),
        first ? el("span", { text: `通話 ${spanText(until - first)}` }) : el("span", { text: `応答前 ${spanText(contact.ended.at - contact.since)}` })),
      documentNode(contact));
  }
}

/** The note for whoever takes over. */
function memoNode(save) {
  const said = el("span", { class: "remark", role: "status" });
  const field = el("input", { id: "memo", name: "memo", maxlength: "1000", autocomplete: "off", placeholder: "転送先に伝えること" });
  const root = el("form", { class: "memo", hidden: true }, el("label", { for: "memo", text: "引き継ぎメモ" }), field, el("button", { type: "submit", text: "保存" }), said);
  let shown = null;
  root.addEventListener("submit", async (event) => {
    event.preventDefault();
    said.textContent = (await save(field.value)) || "保存しました";
  });
  return {
    root,
    show(contact) {
      root.hidden = !["talking", "held", "ringing"].includes(stateOf(contact));
      const now = `${contact.id}/${contact.note}`;
      // what somebody is writing is not taken away
      if (shown === now || (shown?.startsWith(contact.id) && document.activeElement === field)) return;
      shown = now;
      field.value = contact.note;
      said.textContent = "";
    },
  };
}

/** The way through the organisation, leg by leg. */
function wayNode(contact) {
  const legs = [...contact.legs.values()].filter((one) => one.answered || one.state !== "ended");
  if (!legs.length) return el("p", { class: "quiet", text: contact.queue ? "担当者を呼び出しています" : "担当者はまだいません" });
  return el("ol", { class: "way" }, ...legs.map((one) => {
    const now = { answered: "通話中", held: "保留中", ringing: "呼出中", offered: "呼出準備", ended: END[one.reason] ?? "終了" }[one.state];
    return el("li", {}, el("span", { class: "tag", text: TIER[one.tier] ?? "応答" }),
      el("span", { class: "way-who" }, outside(agentText(one.agent ?? { extension: "?" }), 140)),
      el("span", { class: "quiet", text: one.answered ? `${clockText(one.answered)}〜 ${now}` : now }));
  }));
}

/** What became of the time of each speaker: a bar to see, and the same in words. */
function documentNode(contact) {
  const made = contact.document;
  if (!made) return el("p", { class: "lookup" }, el("span", { class: "spinner", "aria-hidden": "true" }), el("span", { text: "記録を作成しています…" }));
  const rows = made.coverage.filter((row) => row.coverage.duration > 0).map((row) => {
    const parts = COVERAGE.filter(([key]) => row.coverage[key] > 0);
    const bar = el("span", { class: "bar", "aria-hidden": "true" }, ...parts.map(([key]) => {
      const part = el("span", { class: `part part-${key}` });
      part.style.flexGrow = String(row.coverage[key]);
      return part;
    }));
    const agent = contact.legs.get(row.leg)?.agent;
    const words = el("span", { class: "bar-words" }, ...parts.map(([key, label]) => el("span", { class: "bar-word" },
      el("span", { class: `swatch part-${key}`, "aria-hidden": "true" }), el("span", { text: `${label} ${lengthText(row.coverage[key])}` }))));
    return el("div", { class: "cover" },
      el("dt", {}, el("b", { text: SPEAKER[row.speaker] }), agent && el("span", { class: "quiet" }, outside(`内線${agent.extension}`, 40))),
      el("dd", {}, bar, words));
  });
  return el("div", { class: "document" },
    el("p", { class: made.complete ? "doc-state done" : "doc-state open", text: documentText(made) }),
    el("dl", { class: "covers" }, ...rows));
}

function documentText(made) {
  if (made.complete) return `記録完成（第${made.revision}版）`;
  const sum = (key) => made.coverage.reduce((total, row) => total + (row.coverage[key] ?? 0), 0);
  if (sum("pending") > 0) return `記録作成中（第${made.revision}版）：認識待ち ${lengthText(sum("pending"))}。認識できしだい更新します。`;
  return `記録に未認識の部分があります（第${made.revision}版）：認識失敗 ${lengthText(sum("failed"))}。音声は保存されています。`;
}

/** What is read out when a telephone rings. */
export function popWords(contact, pop) {
  const caller = callerText(pop.caller);
  const matches = pop.matches ?? [];
  const whoIs = matches.length === 1 ? `${plain(matches[0].name, 80)}様の登録があります` : matches.length ? `候補${matches.length}件` : "";
  return `着信 ${caller.main} ${caller.kind === "番号なし" ? "" : caller.kind} ${callerMarks(pop.caller).map(([mark]) => mark).join(" ")} ${whoIs} ${plain(pop.line ?? "", 60)}`;
}

export { openPops, stateOf };
