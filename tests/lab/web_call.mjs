#!/usr/bin/env node
// Talks by the click-to-talk page in headless Chromium: a WAV file as the microphone, another as the far end.
//
//   node tests/lab/web_call.mjs --url URL --token TOKEN --mic own.wav [--far far.wav] --talk-s 20 [--shot FILE.png] [--leave] [--restart]
//
// --leave closes the page instead of pressing the button that ends the call. --restart restarts ICE in the middle. Exit code 1 when the call does not
// come about, with what the page says.

import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";

import { browse, pause } from "./browser.mjs";

const text = { type: "string" };
const { values: wish } = parseArgs({
  options: { url: text, token: text, mic: text, far: text, "talk-s": { ...text, default: "20" }, shot: text, leave: { type: "boolean" }, restart: { type: "boolean" } },
});
const flags = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
  `--use-file-for-fake-audio-capture=${resolve(wish.mic)}%noloop`, "--autoplay-policy=no-user-gesture-required",
  "--allow-loopback-in-peer-connection", "--window-size=1000,900"];
const limit = 1000 * Number(wish["talk-s"]) + 60000;
browse({ script: "web_call.mjs", flags, limit, gesture: true }, async ({ page, evaluate }) => {
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
});
