#!/usr/bin/env node
// Takes a picture of a page in headless Chromium once something is to be seen on it. Speaks the DevTools protocol over a pipe: no packages.
//
//   node tests/lab/panel_shot.mjs --url URL --out FILE.png [--wait TEXT | --wait-css SELECTOR]… [--gone TEXT] [--width 1280] [--height 800]
//        [--zoom 1] [--full] [--focus SELECTOR] [--click SELECTOR] [--scroll-up SELECTOR] [--type SELECTOR=TEXT] [--eval FILE.js] [--text FILE]
//        [--timeout 20000] [--after 300] [--chromium PATH]
//
// --wait and --wait-css may be given several times; all have to hold (and no --gone text may be there). The actions come after that.
// --text writes what can be read on the page. --eval prints the value of a script as JSON. Exit code 1 when the time runs out, with what was on the page.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const text = { type: "string" };
const many = { type: "string", multiple: true, default: [] };
const { values: wish } = parseArgs({
  options: {
    url: text, out: text, wait: many, "wait-css": many, gone: many, width: { ...text, default: "1280" }, height: { ...text, default: "800" },
    zoom: { ...text, default: "1" }, full: { type: "boolean" }, focus: text, click: many, "scroll-up": text, type: many, eval: text, text,
    timeout: { ...text, default: "20000" }, after: { ...text, default: "300" }, chromium: text,
  },
});
if (!wish.url || !wish.out) {
  console.error("panel_shot.mjs: --url and --out are needed");
  process.exit(2);
}

const browser = wish.chromium ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path));
if (!browser) {
  console.error("panel_shot.mjs: no Chromium; run tests/lab/chromium.sh");
  process.exit(2);
}

const profile = mkdtempSync(join(tmpdir(), "panel-shot-"));
const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions", "--hide-scrollbars", "--lang=ja",
  "--no-proxy-server", "--remote-debugging-pipe", `--user-data-dir=${profile}`, `--window-size=${wish.width},${wish.height}`, "about:blank"];
// a process group of its own: the browser's helpers go with it
const chromium = spawn(browser, flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"], detached: true });
const limit = setTimeout(() => finish(1, "the browser did not answer"), Number(wish.timeout) + 15000);

// --- DevTools protocol: JSON messages that end with NUL ---
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
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

let done = false;
function finish(code, problem) {
  if (done) return;
  done = true;
  clearTimeout(limit);
  if (problem) console.error(`panel_shot.mjs: ${problem}`);
  try {
    process.kill(-chromium.pid, "SIGKILL");
  } catch {
    // it is gone already
  }
  setTimeout(() => leave(code), 100);
}

function leave(code) {
  try {
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  } catch (error) {
    console.error(`panel_shot.mjs: ${profile} is left behind: ${error.code}`);
  }
  process.exit(code);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function main() {
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const page = (method, params) => send(method, params, sessionId);
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await page("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  const node = (selector, action) => evaluate(`{const node = document.querySelector(${JSON.stringify(selector)});
    if (!node) throw new Error("no element " + ${JSON.stringify(selector)}); ${action}}`);
  // zoom as a browser does it: fewer CSS pixels in the same window
  const zoom = Number(wish.zoom);
  const size = { width: Math.round(Number(wish.width) / zoom), height: Math.round(Number(wish.height) / zoom) };
  await page("Emulation.setDeviceMetricsOverride", { ...size, deviceScaleFactor: zoom, mobile: false });
  await page("Page.enable");
  await page("Page.navigate", { url: wish.url });

  const condition = JSON.stringify({ wait: wish.wait, css: wish["wait-css"], gone: wish.gone });
  const until = Date.now() + Number(wish.timeout);
  const holds = () => evaluate(`(() => { const wish = ${condition}; const text = document.body?.innerText ?? "";
    return wish.wait.every((word) => text.includes(word)) && !wish.gone.some((word) => text.includes(word))
      && wish.css.every((selector) => document.querySelector(selector)); })()`).catch(() => false);
  while (!(await holds())) {
    if (Date.now() > until) throw new Error(`not seen in time: ${condition}\n--- on the page:\n${await evaluate("document.body.innerText")}`);
    await pause(50);
  }
  for (const pair of wish.type) {
    const at = pair.indexOf("=");
    await node(pair.slice(0, at), `node.value = ${JSON.stringify(pair.slice(at + 1))};`);
  }
  for (const selector of wish.click) await node(selector, "node.click();");
  if (wish["scroll-up"]) await node(wish["scroll-up"], "node.scrollTop = 0;");
  if (wish.focus) await node(wish.focus, "node.focus();");
  await pause(Number(wish.after));
  if (wish.eval) console.log(JSON.stringify(await evaluate(readFileSync(wish.eval, "utf8"))));
  if (wish.text) writeFileSync(wish.text, await evaluate("document.body.innerText"));
  const { data } = await page("Page.captureScreenshot", { format: "png", captureBeyondViewport: Boolean(wish.full) });
  writeFileSync(wish.out, Buffer.from(data, "base64"));
}

main().then(() => finish(0), (error) => finish(1, error.message));
