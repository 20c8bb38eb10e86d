// The conversation of one contact on two sides. Every text goes in as text, never as markup.

import { runningTurns } from "./state.js";
import { SPEAKER, clockText, lengthText, plain } from "./words.js";

/** Makes an element; `text` is set as text content. */
export function el(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") node.textContent = value;
    else if (key === "class") node.className = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter(Boolean));
  return node;
}

/** Text from outside in a box of its own direction, so that it cannot turn its neighbours round. */
export const outside = (text, most) => el("bdi", { text: plain(text, most) });

/** The scrolling text of one contact: new turns at the bottom, followed unless the reader has scrolled up. */
export class Talk {
  /** `mark(contact, utterance, mark)` marks an utterance, or takes `mark` away, `correct(contact, turn, text)` puts its text right; both give what went wrong. */
  constructor({ mark, correct }) {
    this.mark = mark;
    this.correct = correct;
    this.log = el("ol", { class: "talk", role: "log", "aria-live": "polite", "aria-relevant": "additions", "aria-label": "通話の内容" });
    // what is being said changes every second: it is not read out before it is final
    this.now = el("ol", { class: "talk talk-now", "aria-live": "off", "aria-label": "認識の途中の発話" });
    this.box = el("div", { class: "talk-box", tabindex: "0", role: "region", "aria-label": "通話の内容（スクロールできます）" }, this.log, this.now);
    this.more = el("button", { class: "more", type: "button", hidden: true });
    this.empty = el("p", { class: "quiet talk-empty", text: "発話を待っています…" });
    this.root = el("div", { class: "talk-frame" }, this.box, this.more);
    this.box.append(this.empty);
    this.follows = true;
    this.unseen = 0;
    this.shown = new Map();
    this.contact = null;
    this.box.addEventListener("scroll", () => this.#scrolled());
    this.more.addEventListener("click", () => this.follow());
  }

  /** Shows `contact`; only what is new is added, so that focus, selection and place stay. */
  show(contact, force) {
    const other = this.contact !== contact.id || force;
    if (other) this.#restart(contact);
    this.#mark("omitted", contact.omittedTurns > 0, () =>
      el("li", { class: "mark", text: `これより前の${contact.omittedTurns}件の発話は省略しています（記録には残っています）` }));
    let added = 0;
    contact.turns.forEach((turn, index) => {
      const before = this.shown.get(turn.key);
      const mark = contact.marks.get(turn.key);
      const same = before && before.dataset.failed === String(turn.failed) && before.dataset.marked === String(Boolean(mark))
        && before.dataset.corrected === String(turn.corrected?.revision ?? 0);
      // what somebody is writing stays; the text may have changed below it, and saving says so
      if (same || before?.querySelector(".correct-form")) return;
      const node = turnNode(turn, mark, this.#marker(contact, turn, mark), this.#corrector(contact, turn));
      const focused = before?.contains(document.activeElement);
      if (before) {
        before.replaceWith(node);
        this.shown.set(turn.key, node);
        if (focused) node.querySelector("button")?.focus();
        return;
      }
      const next = contact.turns.slice(index + 1).find((later) => this.shown.has(later.key));
      this.log.insertBefore(node, next ? this.shown.get(next.key) : null);
      this.shown.set(turn.key, node);
      added += 1;
    });
    const running = this.#running(contact);
    this.empty.hidden = contact.turns.length > 0 || contact.omittedTurns > 0 || running > 0;
    this.empty.textContent = contact.ended ? "文字になった発話はありません。" : "発話を待っています…";
    if (other) requestAnimationFrame(() => this.log.setAttribute("aria-busy", "false"));
    if (this.follows) this.follow();
    else if (added && !other) this.#unseen(this.unseen + added);
  }

  /** What is being said, below what was said: settled text as it will stay, the rest grey. Gives how many speak. */
  #running(contact) {
    const running = runningTurns(contact);
    const known = new Map([...this.now.children].map((node) => [node.dataset.utterance, node]));
    for (const [key, node] of known) if (!running.some((one) => one.key === key)) node.remove();
    running.forEach((one, index) => {
      const node = known.get(one.key) ?? runningNode(one);
      const [stable, tail] = node.querySelectorAll(".turn-text > bdi");
      if (stable.textContent !== plain(one.stable, 4000)) stable.textContent = plain(one.stable, 4000);
      if (tail.textContent !== plain(one.tail, 4000)) tail.textContent = plain(one.tail, 4000);
      if (this.now.children[index] !== node) this.now.insertBefore(node, this.now.children[index] ?? null);
    });
    return running.length;
  }

  /** The button that marks an utterance for whoever takes over. */
  #marker(contact, turn, mark) {
    if (contact.ended || turn.failed) return null;
    const words = `${SPEAKER[turn.speaker] ?? ""}の発話（${clockText(turn.start)}）に${mark ? "付けた印を外す" : "印を付ける"}`;
    const button = el("button", { type: "button", class: "mark-button", "aria-pressed": mark ? "true" : "false", "aria-label": words, title: words, text: mark ? "★" : "☆" });
    button.addEventListener("click", async () => {
      button.disabled = true;
      const wrong = await this.mark(contact, turn.key, mark?.mark);
      button.disabled = false;
      if (wrong) button.title = wrong;
    });
    return button;
  }

  /** The button that puts the text of an utterance right, also after the call. */
  #corrector(contact, turn) {
    if (turn.failed) return null;
    const words = `${SPEAKER[turn.speaker] ?? ""}の発話（${clockText(turn.start)}）を訂正する`;
    const button = el("button", { type: "button", class: "mark-button correct-button", "aria-label": words, title: words, text: "✎" });
    button.addEventListener("click", () => {
      const bubble = button.closest("li").querySelector(".bubble");
      if (bubble.querySelector(".correct-form")) return;
      const revision = turn.corrected?.revision ?? 0;
      const form = correctForm(turn, async (text) => {
        const wrong = await this.correct(contact, { key: turn.key, corrected: { revision } }, text);
        if (!wrong) this.#close(form, contact);
        return wrong;
      }, () => this.#close(form, contact, button));
      bubble.append(form);
      form.querySelector("textarea").focus();
    });
    return button;
  }

  #close(form, contact, button) {
    form.remove();
    button?.focus();
    if (this.contact === contact.id) this.show(contact);
  }

  /** Goes to the newest turn and stays there. */
  follow() {
    this.follows = true;
    this.#unseen(0);
    this.box.scrollTop = this.box.scrollHeight;
  }

  #restart(contact) {
    this.contact = contact.id;
    // a whole conversation at once is not news to be read out
    this.log.setAttribute("aria-busy", "true");
    this.log.replaceChildren();
    this.shown.clear();
    this.follows = true;
    this.#unseen(0);
  }

  #mark(key, wanted, make) {
    if (!wanted || this.shown.has(key)) return;
    const node = make();
    this.log.prepend(node);
    this.shown.set(key, node);
  }

  #scrolled() {
    for (const box of this.log.querySelectorAll(".fix-box.open")) box.classList.remove("open");
    this.follows = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 24;
    if (this.follows) this.#unseen(0);
    else this.more.hidden = false;
  }

  #unseen(count) {
    this.unseen = count;
    this.more.hidden = this.follows;
    this.more.textContent = count ? `↓ 新しい発話 ${count}件` : "↓ 最新へ";
  }
}

function runningNode(one) {
  const side = one.speaker === "caller" ? "caller" : "agent";
  return el("li", { class: `turn running ${side}`, "data-utterance": one.key },
    el("div", { class: "turn-meta" }, el("span", { class: "turn-who", text: SPEAKER[one.speaker] ?? SPEAKER.agent }), el("span", { text: "認識中…" })),
    el("div", { class: "bubble" }, el("p", { class: "turn-text" }, el("bdi", { class: "stable" }), el("bdi", { class: "tail" }))));
}

/** Where a text is put right; `save(text)` gives what went wrong. */
function correctForm(turn, save, cancel) {
  const field = el("textarea", { class: "correct-text", rows: "2", maxlength: "2000", "aria-label": "訂正した文" });
  field.value = turn.text;
  const wrong = el("p", { class: "correct-wrong", role: "alert" });
  const keep = el("button", { type: "submit", text: "訂正を保存" });
  const leave = el("button", { type: "button", text: "取消" });
  const hint = el("p", { class: "quiet", text: "＊で隠した番号は書き戻せません。元の認識結果も記録に残ります。" });
  const form = el("form", { class: "correct-form" }, field, hint, wrong, el("div", { class: "correct-acts" }, keep, leave));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = field.value.replace(/\s+/g, " ").trim();
    if (!text) return void (wrong.textContent = "文を入力してください。");
    keep.disabled = true;
    wrong.textContent = (text === turn.text ? cancel() : await save(text)) ?? "";
    keep.disabled = false;
  });
  leave.addEventListener("click", cancel);
  form.addEventListener("keydown", (event) => event.key === "Escape" && cancel());
  return form;
}

function turnNode(turn, mark, button, corrector) {
  const side = turn.speaker === "caller" ? "caller" : "agent";
  const who = SPEAKER[turn.speaker] ?? SPEAKER.agent;
  const meta = el("div", { class: "turn-meta" },
    el("span", { class: "turn-who", text: who }),
    el("time", { class: "turn-time", datetime: isoText(turn.start), text: clockText(turn.start) }),
    turn.caughtUp && el("span", { class: "tag", text: "後から認識" }),
    !turn.failed && turn.confidence < 0.4 && el("span", { class: "tag", text: "確度 低", title: `認識の確からしさ ${Math.round(turn.confidence * 100)}%` }),
    turn.corrected && el("span", { class: "tag corrected", text: `訂正済${turn.corrected.agent ? `（${plain(turn.corrected.agent, 64)}）` : ""}`, title: turn.heard === undefined ? undefined : `認識した文：${plain(turn.heard, 400)}` }),
    mark && !button && el("span", { class: "tag mark-caller", text: "★ 印" }), mark?.note && el("span", { class: "mark-note" }, outside(mark.note, 200)), button, corrector);
  const text = turn.failed
    ? el("p", { class: "turn-text failed" }, el("span", { text: "（認識できませんでした。音声は保存されています）" }))
    : el("p", { class: "turn-text", dir: "auto" }, ...corrected(turn));
  const lost = turn.gaps.reduce((sum, [from, to]) => sum + Math.max(0, to - from), 0);
  const gap = lost > 0 && el("p", { class: "gap" }, el("span", { class: "gap-mark", "aria-hidden": "true", text: "⌇" }),
    el("span", { text: `音声欠落 ${lengthText(lost)}${turn.gaps.length > 1 ? `（${turn.gaps.length}か所）` : ""}：この発話の一部が届いていません` }));
  return el("li", { class: `turn ${side}`, "data-failed": String(turn.failed), "data-marked": String(Boolean(mark)), "data-corrected": String(turn.corrected?.revision ?? 0) }, meta, el("div", { class: "bubble" }, text, gap));
}

const isoText = (ms) => (Number.isFinite(ms) ? new Date(ms).toISOString() : undefined);

let tips = 0;

/** Puts the tip above its word, or below where there is no room; free of the scrolling box, so that nothing cuts it off. */
function openTip(box, tip) {
  box.classList.add("open");
  const word = box.getBoundingClientRect();
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(word.left, document.documentElement.clientWidth - width - 8);
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${word.top > height + 12 ? word.top - height - 6 : word.bottom + 6}px`;
}

/** The text with the dictionary's words underlined; what the recogniser wrote is shown on hover and focus. */
function corrected(turn) {
  const signs = Array.from(turn.text);
  const parts = [];
  let at = 0;
  const ordered = [...turn.corrections].sort((left, right) => left.start - right.start);
  for (const one of ordered) {
    if (!(one.start >= at && one.end > one.start && one.end <= signs.length)) continue;
    parts.push(document.createTextNode(plain(signs.slice(at, one.start).join(""), 4000)));
    const id = `tip-${(tips += 1)}`;
    const tip = el("span", { class: "tip", role: "tooltip", id },
      el("span", { class: "tip-line" }, el("b", { text: "認識した語" }), outside(one.from, 80)),
      el("span", { class: "tip-line" }, el("b", { text: "辞書の語" }), outside(one.to, 80)),
      el("span", { class: "tip-line" }, el("b", { text: "読み" }), outside(one.reading, 80)));
    const word = el("span", { class: "fix", tabindex: "0", "aria-describedby": id, text: plain(signs.slice(one.start, one.end).join(""), 200) });
    const box = el("span", { class: "fix-box" }, word, tip);
    for (const name of ["mouseenter", "focusin"]) box.addEventListener(name, () => openTip(box, tip));
    for (const name of ["mouseleave", "focusout"]) box.addEventListener(name, () => box.classList.remove("open"));
    word.addEventListener("keydown", (event) => event.key === "Escape" && box.classList.remove("open"));
    parts.push(box);
    at = one.end;
  }
  parts.push(document.createTextNode(plain(signs.slice(at).join(""), 4000)));
  return parts;
}
