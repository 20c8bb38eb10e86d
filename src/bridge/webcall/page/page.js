// The click-to-talk page: what is chosen, what is shown, and the buttons.

import { WhipCall } from "./whip.js";
import { file, microphone, tone, watch } from "./sound.js";

const at = (id) => document.getElementById(id);
const STATES = {
  idle: "待機中", preparing: "マイクを準備しています", connecting: "接続しています", connected: "通話中", muted: "通話中（ミュート）",
  disconnected: "接続が不安定です", failed: "接続が切れました", ended: "通話を終えました",
};
const PROBLEMS = {
  401: "トークンが無効か、期限切れです。新しいトークンを受け取ってください。",
  403: "このページからの通話は許可されていません。管理者に連絡してください。",
  409: "このトークンの通話がまだ続いています。数秒待ってからやり直してください。",
  422: "音声の形式を受け付けられません。",
  429: "通話の開始が続きすぎています。数秒待ってからやり直してください。",
  503: "ただいま混み合っています。数秒待ってからやり直してください。",
};
let call; // also `kakehashiCall` of the window, for whoever looks into a fault by the console
let stops = [];
let began;

function show(state) {
  at("link").dataset.state = { connected: "live", muted: "live", failed: "lost", disconnected: "lost" }[state] ?? "idle";
  at("link-text").textContent = STATES[state] ?? state;
  const busy = ["preparing", "connecting", "connected", "muted", "disconnected"].includes(state);
  at("start").disabled = busy;
  at("end").disabled = !busy;
  at("mute").disabled = !["connected", "muted"].includes(state);
  for (const id of ["token", "own", "far", "far-file"]) at(id).disabled = busy;
}

function complain(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

function words(error) {
  if (error.name === "NotAllowedError") return "マイクの使用が許可されていません。ブラウザーの設定で許可してください。";
  if (error.name === "NotFoundError") return "マイクが見つかりません。";
  if (error.name === "EncodingError") return "この音声ファイルは再生できません。";
  return PROBLEMS[error.status] ?? `通話を始められませんでした（${error.status ?? error.name}）。`;
}

async function farEnd() {
  const wish = at("far").value;
  if (wish === "none") return undefined;
  if (wish === "tone") return { track: await tone() };
  if (wish === "file") {
    if (!at("far-file").files[0]) throw Object.assign(new Error("no file"), { name: "EncodingError" });
    return file(at("far-file").files[0]);
  }
  return { track: await microphone(wish) };
}

async function start(event) {
  event.preventDefault();
  complain("");
  show("preparing");
  try {
    const own = await microphone(at("own").value);
    stops.push(() => own.stop());
    const far = await farEnd();
    const tracks = far ? [own, far.track] : [own];
    stops.push(watch(own, at("own-level")));
    if (far) stops.push(watch(far.track, at("far-level")), () => far.track.stop());
    list();
    show("connecting");
    call = globalThis.kakehashiCall = new WhipCall(new URL("/whip", location.href).href, at("token").value.trim(), tracks, (state, error) => changed(state, error, own, far));
    await call.start();
  } catch (error) {
    complain(words(error));
    await end("idle");
  }
}

function changed(state, error, own, far) {
  if (state === "problem") {
    if (error.status !== 412) complain(words(error));
  } else if (state === "connected") {
    complain("");
    if (!began) far?.begin?.();
    began ??= Date.now();
    at("mute").onclick = () => mute(own);
    show(own.enabled ? "connected" : "muted");
  } else if (state === "failed") {
    complain("接続が切れました。同じトークンで、しばらくのあいだやり直せます。");
    end("failed");
  } else if (state === "disconnected") {
    show("disconnected");
  }
}

function mute(own) {
  own.enabled = !own.enabled;
  at("mute").setAttribute("aria-pressed", String(!own.enabled));
  show(own.enabled ? "connected" : "muted");
}

async function end(state) {
  for (const stop of stops.splice(0)) stop();
  at("mute").setAttribute("aria-pressed", "false");
  began = undefined;
  const ending = call;
  call = undefined;
  show(state);
  // a lost call is left, so that its token may begin it again
  if (ending) await (state === "failed" ? ending.pc.close() : ending.stop());
}

async function list() {
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "audioinput" && device.deviceId);
  for (const select of [at("own"), at("far")]) {
    for (const device of devices) {
      if ([...select.options].some((option) => option.value === device.deviceId)) continue;
      select.add(new Option(device.label || "名前のない入力装置", device.deviceId));
    }
  }
}

at("call").addEventListener("submit", start);
at("end").addEventListener("click", () => end("ended"));
at("far").addEventListener("change", () => { at("far-file-row").hidden = at("far").value !== "file"; });
addEventListener("pagehide", () => call?.stop(true));
setInterval(() => {
  const seconds = began ? Math.floor((Date.now() - began) / 1000) : 0;
  at("clock").textContent = [Math.floor(seconds / 60), seconds % 60].map((part) => String(part).padStart(2, "0")).join(":");
}, 500);
// a link may bring the token along: what stands behind # is never sent to a server
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  at("token").value = given;
  history.replaceState(null, "", location.pathname);
}
if (navigator.mediaDevices) list();
else complain("このページは https（または localhost）で開いてください。マイクが使えません。");
show("idle");
