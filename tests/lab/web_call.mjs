#!/usr/bin/env node
// Talks by the click-to-talk page in headless Chromium: a WAV file as the microphone, another as the far end. Speaks the DevTools protocol
// over a pipe: no packages.
//
//   node tests/lab/web_call.mjs --url URL --token TOKEN --mic own.wav [--far far.wav] --talk-s 20 [--shot FILE.png] [--leave] [--restart]
//
// --leave closes the page instead of pressing the button that ends the call. --restart restarts ICE in the middle. Exit code 1 when the call does not
// come about, with what the page says.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const text = { type: "string" };
const { values: wish } = parseArgs({
  options: { url: text, token: text, mic: text, far: text, "talk-s": { ...text, default: "20" }, shot: text, leave: { type: "boolean" }, restart: { type: "boolean" } },
});
const browser = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path));
if (!browser) {
  console.error("web_call.mjs: no Chromium; run tests/lab/chromium.sh");
  process.exit(2);
}
const profile = mkdtempSync(join(tmpdir(), "web-call-"));
const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions", "--lang=ja", "--no-proxy-server",
  "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", `--use-file-for-fake-audio-capture=${resolve(wish.mic)}%noloop`,
  "--autoplay-policy=no-user-gesture-required", "--allow-loopback-in-peer-connection", "--window-size=1000,900",
  "--remote-debugging-pipe", `--user-data-dir=${profile}`, "about:blank"];
const chromium = spawn(browser, flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"], detached: true });
const limit = setTimeout(() => finish(1, "it took too long"), 1000 * Number(wish["talk-s"]) + 60000);

let next = 0;
let pending = "";
const waiting = new Map();
chromium.stdio[4].setEncoding("utf8");
chromium.stdio[4].on("data", (chunk) => {
  const parts = (pending + chunk).split("\0");
  pending = parts.pop();
  for (const part of parts) {
    const message = JSON.parse(part);
    const call = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error) call?.reject(new Error(message.error.message));
    else call?.resolve(message.result);
  }
});
chromium.on("exit", () => finish(1, "the browser ended"));

function send(method, params = {}, sessionId = undefined) {
  const id = (next += 1);
  chromium.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
  return new Promise((done, failed) => waiting.set(id, { resolve: done, reject: failed }));
}

let done = false;
function finish(code, problem) {
  if (done) return;
  done = true;
  clearTimeout(limit);
  if (problem) console.error(`web_call.mjs: ${problem}`);
  try {
    process.kill(-chromium.pid, "SIGKILL");
  } catch {
    // it is gone already
  }
  setTimeout(() => {
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    process.exit(code);
  }, 100);
}

const pause = (ms) => new Promise((wake) => setTimeout(wake, ms));

async function main() {
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const page = (method, params) => send(method, params, sessionId);
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await page("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true, userGesture: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  const until = async (what, expression, seconds) => {
    const deadline = Date.now() + 1000 * seconds;
    while (!(await evaluate(expression).catch(() => false))) {
      if (Date.now() > deadline) throw new Error(`not in time: ${what}\n--- on the page:\n${await evaluate("document.body.innerText")}`);
      await pause(50);
    }
  };
  await page("Page.enable");
  await page("DOM.enable");
  await page("Page.navigate", { url: `${wish.url}#token=${wish.token}` });
  await until("the page", "document.getElementById('link-text')?.textContent === '待機中' && document.getElementById('token').value !== ''", 20);
  if (wish.far) {
    await evaluate("{ const far = document.getElementById('far'); far.value = 'file'; far.dispatchEvent(new Event('change')); }");
    const { root } = await page("DOM.getDocument");
    const { nodeId } = await page("DOM.querySelector", { nodeId: root.nodeId, selector: "#far-file" });
    await page("DOM.setFileInputFiles", { nodeId, files: [resolve(wish.far)] });
  }
  await evaluate("document.getElementById('start').click()");
  await until("the connection", "document.getElementById('link-text').textContent === '通話中'", 30);
  console.log("connected");
  await pause(1000 * Number(wish["talk-s"]) / 2);
  if (wish.restart) await evaluate("globalThis.kakehashiCall.restart()");
  await pause(1000 * Number(wish["talk-s"]) / 2);
  if (wish.shot) {
    const { data } = await page("Page.captureScreenshot", { format: "png" });
    writeFileSync(wish.shot, Buffer.from(data, "base64"));
  }
  const problem = await evaluate("document.getElementById('problem').textContent");
  if (problem) throw new Error(problem);
  if (wish.leave) {
    await page("Page.navigate", { url: "about:blank" });
    await pause(1000);
  } else {
    await evaluate("document.getElementById('end').click()");
    await until("the end", "document.getElementById('link-text').textContent === '通話を終えました'", 10);
  }
}

main().then(() => finish(0), (error) => finish(1, error.message));
