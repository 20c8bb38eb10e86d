// Words and numbers for people: telephone numbers, times in JST, labels of every state.

// Grouping of Japanese numbers without the leading 0: first match wins. The order and the patterns are those of libphonenumber's
// metadata for JP (Apache-2.0), most specific level.
const GROUPS = [
  [/^(?:12|57|99)0\d{6}$/, [3, 3, 3]],
  [/^(?:1(?:267|3(?:7[247]|9[278])|466|5(?:47|58|64)|6(?:3[245]|48|5[4-68]))|499[2468]|5(?:769|979[2-69])|7468|8(?:3(?:8[7-9]|96[2457-9])|477|51[2-9])|9(?:802|9(?:1[23]|69))|1(?:45|58)[67])/, [4, 1, 4]],
  [/^60/, [2, 3, 4]],
  [/^(?:3|4(?:2(?:0|9[02-69])|7(?:0[019]|1))|6[1-9])/, [1, 4, 4]],
  [/^(?:1(?:1|5(?:4[018]|5[017])|77|88|9[69])|2(?:2[127]|3[0-269]|4[59]|5(?:[1-3]|5[0-69]|9(?:17|99))|6(?:2|4[016-9])|7(?:[1-35]|8[0189])|8(?:[16]|3[0134]|9[0-5])|9(?:[028]|17))|4(?:2(?:[13-79]|8[014-6])|3[0-57]|[45]|6[248]|7[2-47]|9[29])|5(?:2|3(?:[045]|9(?:[0-58]|6[4-9]|7[0-35689]))|4[0-369]|5[29]|8[02389]|9[0-3])|7(?:2[02-46-9]|34|[58]|6[0249]|7[57]|9(?:[23]|4[0-59]|5[01569]|6[0167]))|8(?:2(?:[1258]|4[0-39]|9[0169])|3(?:[29]|60|7(?:[017-9]|6[6-8]))|49|51|6(?:[0-24]|36[2-57-9]|5(?:[0-389]|5[23])|6(?:[01]|9[178])|7(?:2[2-468]|3[78])|9[0145])|7[0-468]|8[68])|9(?:4[15]|5[138]|7[156]|8[189]|9(?:[1289]|3(?:31|4[357])|4[0178]))|(?:8294|96)[1-3]|2(?:57|93)[015-9]|(?:223|8699)[014-9]|(?:25[0468]|422|838)[01]|(?:48|8292|9[23])[1-9]|(?:47[59]|59[89]|8(?:68|9))[019])/, [2, 3, 4]],
  [/^(?:[14]|[289][2-9]|5[3-9]|7[2-4679])/, [3, 2, 4]],
  [/^800/, [3, 3, 4]],
  [/^[25-9]/, [2, 4, 4]],
];

/** A Japanese number without its leading 0, as people write it: 6-6208-8181 → 06-6208-8181. */
function grouped(national) {
  for (const [pattern, sizes] of GROUPS) {
    if (!pattern.test(national) || sizes.reduce((sum, size) => sum + size, 0) !== national.length) continue;
    let at = 0;
    return "0" + sizes.map((size) => national.slice(at, (at += size))).join("-");
  }
  return "0" + national;
}

/** A dialled or calling number for reading; anything that is not a Japanese national number stays as it is. */
export function numberText(raw) {
  const text = plain(raw ?? "", 64);
  const national = /^(?:\+81|0)([1-9]\d{8,9})$/.exec(text);
  return national ? grouped(national[1]) : text;
}

const WITHHELD = {
  refused: ["非通知", "発信者が番号を通知していません"],
  payphone: ["公衆電話", "公衆電話からの着信です"],
  "service-conflict": ["サービス競合", "網の都合で番号が届きませんでした"],
  unavailable: ["表示圏外", "番号を通知できない地域・網からの着信です"],
};

/** What to show of a caller: the big line, its kind, and a remark. */
export function callerText(caller) {
  const withheld = WITHHELD[caller?.withheld];
  if (withheld && !caller.number) return { main: withheld[0], kind: "番号なし", remark: withheld[1], dialable: false };
  const number = caller?.number || caller?.raw;
  if (!number) return { main: "番号なし", kind: "番号なし", remark: "交換機から番号が届いていません", dialable: false };
  return { main: numberText(number), kind: KIND[caller?.kind] ?? kindOf(number), remark: "", dialable: true };
}

const KIND = {
  fixed: "固定電話", mobile: "携帯電話", ip: "IP電話（050）", fmc: "FMC（0600）", data: "データ通信（020）", freephone: "フリーダイヤル",
  navi: "ナビダイヤル", premium: "情報料課金（0990）", mass: "テレドーム・伝言", international: "国際電話", extension: "内線",
  emergency: "緊急通報", service: "特番",
};

const TAG = {
  payphone: ["公衆電話", ""],
  operator: ["交換手", "電話会社のオペレーターが取り次いでいます"],
  test: ["試験呼", ""],
  "emergency-callback": ["緊急通報の呼び返し", "警察・消防・海上保安庁からの折り返しです"],
  relay: ["電話リレーサービス", "通訳オペレーターが手話・文字と音声を通訳しています。切らずにお話しください。"],
};

const DIVERTED = {
  unconditional: "常時転送", busy: "話中のため", "no-answer": "応答がないため", unavailable: "つながらないため", deflection: "応答前の転送", other: "",
};

/** What else is known of a caller, each as a mark and a remark: [["電話リレーサービス", "…"], …]. */
export function callerMarks(caller) {
  const marks = (caller?.tags ?? []).filter((tag) => TAG[tag] && !(tag === "payphone" && caller.withheld === "payphone")).map((tag) => TAG[tag]);
  if (caller?.verstat === "failed") marks.push(["番号の検証に失敗", "番号が偽られているおそれがあります"]);
  return marks;
}

/** 06-6208-8181（話中のため）: the line that was dialled first; empty when the call was not diverted. */
export function divertedText(caller) {
  const diverted = caller?.diverted;
  if (!diverted) return "";
  const number = diverted.number || diverted.raw;
  const why = DIVERTED[diverted.reason] ?? "";
  return `${number ? numberText(number) : "番号非公開"}${why ? `（${why}）` : ""}`;
}

function kindOf(number) {
  const japanese = /^(?:\+81|0)([1-9]\d{8,9})$/.exec(number);
  if (!japanese) {
    if (/^\+\d+$/.test(number)) return "国際電話";
    if (/^1\d\d$/.test(number)) return "特番";
    return /^\d{1,6}$/.test(number) ? "内線" : "形式不明";
  }
  const national = japanese[1];
  if (/^[789]0\d{8}$/.test(national)) return "携帯電話";
  if (/^50\d{8}$/.test(national)) return "IP電話（050）";
  if (/^(?:120\d{6}|800\d{7})$/.test(national)) return "フリーダイヤル";
  if (/^570\d{6}$/.test(national)) return "ナビダイヤル";
  return /^[1-9]\d{8}$/.test(national) ? "固定電話" : "その他";
}

/** Text from outside as one safe line: control and direction characters are made visible, very long text is cut and said to be. */
export function plain(text, most = 400) {
  const shown = String(text).replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g, (sign) =>
    sign === "\n" || sign === "\t" || sign === "\r" ? " " : "\ufffd",
  );
  const signs = Array.from(shown);
  return signs.length <= most ? shown : signs.slice(0, most).join("") + "…（以下省略）";
}

const CLOCK = new Intl.DateTimeFormat("ja-JP", { timeZone: "Asia/Tokyo", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat("ja-JP", { timeZone: "Asia/Tokyo", year: "numeric", month: "long", day: "numeric", weekday: "short" });
const DATE = new Intl.DateTimeFormat("ja-JP", { timeZone: "Asia/Tokyo", year: "numeric", month: "2-digit", day: "2-digit" });

/** 17:32:05 in JST. */
export const clockText = (ms) => CLOCK.format(ms);
/** 2026年11月23日(月) in JST. */
export const dayText = (ms) => DAY.format(ms);

/** 2026/11/23 in JST. */
export const dateText = (ms) => DATE.format(ms);

/** 75 s → 1:15; hours only when there are any. */
export function spanText(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (value) => String(value).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes}:${two(seconds % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}

/** 1.2秒, 12秒, 3分5秒. */
export function lengthText(ms) {
  if (ms < 10000) return `${(ms / 1000).toFixed(1)}秒`;
  const seconds = Math.round(ms / 1000);
  return seconds < 60 ? `${seconds}秒` : `${Math.floor(seconds / 60)}分${seconds % 60}秒`;
}

export const SPEAKER = { caller: "発信者", agent: "担当者", mixed: "発信者と担当者", other: "話者不明" };

export const TIER = { first: "一次応答", second: "二次応答", third: "三次応答" };

export const END = {
  caller_hangup: "発信者が切断",
  agent_hangup: "担当者が切断",
  hangup: "切断（どちらからかは不明）",
  no_answer: "応答なし",
  busy: "話中",
  rejected: "着信拒否",
  abandoned: "応答前に発信者が切断",
  answered_elsewhere: "ほかの担当者が応答",
  transferred: "転送",
  forwarded: "電話機の設定により転送",
  parked: "パーク（保留して引き継ぎ）",
  failed: "交換機または回線の障害",
  lost_sight: "交換機との接続が切れたため終了を確認できず",
  bridge_restart: "架け橋の再起動により記録を終了",
  bridge_error: "架け橋の障害により記録を終了",
};

export const WITHDRAWN = {
  not_answered: "応答がなかったため終了しました",
  answered_elsewhere: "ほかの担当者が応答しました",
  abandoned: "発信者が電話を切りました",
  ended: "通話が終了しました",
};

export const COVERAGE = [
  ["transcribed", "認識済"],
  ["silent", "無音"],
  ["lost", "音声欠落"],
  ["paused", "録音停止"],
  ["excluded", "対象外"],
  ["unobserved", "未取得"],
  ["pending", "認識待ち"],
  ["failed", "認識失敗"],
];

/** 内線201　佐藤 花子（窓口課） */
export function agentText(agent) {
  const name = agent.name ? `　${plain(agent.name, 60)}` : "";
  const department = agent.department ? `（${plain(agent.department, 60)}）` : "";
  return `内線${plain(agent.extension, 32)}${name}${department}`;
}

/** Only addresses of the web become links. */
export function webAddress(text) {
  try {
    const url = new URL(text ?? "");
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}
