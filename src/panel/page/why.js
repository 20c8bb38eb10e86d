// Why somebody calls, and what the person before handed over: texts of other systems and of the conversation, as text, never as markup.

import { el, outside } from "./talk.js";
import { END, SPEAKER, TIER, agentText, clockText, numberText, plain, webAddress } from "./words.js";

const KIND = {
  blind: "転送", attended: "相談のうえ転送", queue: "待ち行列へ転送", parked: "パークからの引き取り", forwarded: "電話機の設定による転送",
  consultation: "相談（発信者は保留中）", joined: "通話への参加",
};
const BY = { number: "電話番号で一致", token: "トークンで一致", contact: "通話を指定" };

/** An address as a link that says where it leads; anything but http(s) stays away. */
function link(address, words) {
  const url = webAddress(address);
  return url && el("a", { class: "match-open", href: url, target: "_blank", rel: "noopener noreferrer", "aria-label": `${plain(words, 80)}（新しいタブ）` }, outside(words, 80), el("span", { text: " ↗" }));
}

/** What was known before the call, one block for each source; `null` when nothing was. */
export function contextNode(contexts) {
  if (!contexts?.length) return null;
  return el("section", { class: "why" }, el("h3", { text: "なぜ（事前の情報）" }), ...contexts.map((one) => {
    const { reason, page, chat, citizen, slots = [] } = one.known ?? {};
    return el("div", { class: "why-source", "data-context": one.context },
      reason && el("p", { class: "why-reason" }, outside(reason, 500)),
      slots.length > 0 && el("dl", { class: "facts why-slots" }, ...slots.slice(0, 32).map((slot) =>
        el("div", {}, el("dt", {}, outside(slot.key, 64)), el("dd", {}, outside(slot.value, 500))))),
      el("p", { class: "why-links" }, page && link(page.url, page.title || "閲覧していたページ"), chat && link(chat, "チャットを開く"),
        citizen && el("span", { class: "quiet" }, el("span", { text: "市民参照 " }), outside(citizen, 128))),
      el("p", { class: "quiet" }, outside(one.from, 64), el("span", { text: `　${clockText(ms(one.posted))} 受付・${BY[one.by] ?? ""}` })));
  }));
}

/** The packet of a caller who was passed on; `null` when there is none. */
export function handoverNode(packet) {
  if (!packet) return null;
  const { turns = [], marks = [], terms = [], legs = [] } = packet;
  const marked = new Set(marks.map((mark) => mark.utterance));
  return el("section", { class: "handover", "data-handover": packet.handover },
    el("h3", {}, el("span", { text: `引き継ぎ（${KIND[packet.kind] ?? "転送"}）` }),
      packet.target && el("span", { class: "quiet" }, outside(` 宛先 ${numberText(packet.target)}`, 60))),
    packet.withheld && el("p", { class: "quiet", text: "この回線の会話は外部に送られないため、内容は含まれていません。" }),
    el("ol", { class: "way" }, ...legs.map((leg) => el("li", {}, el("span", { class: "tag", text: TIER[leg.tier] ?? "応答" }),
      el("span", { class: "way-who" }, outside(agentText(leg.agent), 140)),
      el("span", { class: "quiet", text: spanOf(leg) })))),
    packet.note && el("p", { class: "note" }, el("b", { text: "引き継ぎメモ " }), outside(packet.note, 1000)),
    marks.length > 0 && el("div", { class: "marks" }, el("h4", { text: "印のある発話" }), el("ul", {}, ...marks.map((mark) =>
      el("li", {}, el("b", { text: `★ ${SPEAKER[mark.speaker] ?? ""} ` }), outside(mark.text ?? "（本文は省略）", 500),
        mark.note && el("span", { class: "mark-note" }, outside(mark.note, 200)))))),
    terms.length > 0 && el("p", { class: "terms" }, el("b", { text: "出てきた語 " }), ...terms.slice(0, 30).map((term) =>
      el("span", { class: "tag" }, outside(term.surface, 60), el("span", { text: term.count > 1 ? ` ×${term.count}` : "" })))),
    packet.omitted_turns > 0 && el("p", { class: "quiet", text: `これより前の${packet.omitted_turns}件の発話は省略しています` }),
    el("ol", { class: "said" }, ...turns.map((turn) => el("li", { class: turn.speaker === "caller" ? "caller" : "agent" },
      el("span", { class: "said-who", text: `${marked.has(turn.utterance) ? "★ " : ""}${SPEAKER[turn.speaker] ?? ""}` }),
      outside(turn.text ?? "（認識できませんでした）", 500)))),
    packet.pending > 0 && el("p", { class: "quiet", role: "status", text: `文字になっていない発話が${packet.pending}件あります。文字になりしだい追加します。` }));
}

function spanOf(leg) {
  const from = leg.answered ?? leg.offered;
  const until = leg.ended ? clockText(ms(leg.ended)) : "";
  return `${clockText(ms(from))}〜${until} ${END[leg.reason] ?? ""}`;
}

const ms = (time) => (typeof time === "number" ? time / 1000 : Date.parse(time));
