#!/usr/bin/env node
// Takes a picture of a page in headless Chromium once something is to be seen on it.
//
//   node tests/lab/panel_shot.mjs --url URL --out FILE.png [--wait TEXT | --wait-css SELECTOR]… [--gone TEXT] [--width 1280] [--height 800]
//        [--zoom 1] [--full] [--focus SELECTOR] [--click SELECTOR] [--scroll-up SELECTOR] [--type SELECTOR=TEXT] [--eval FILE.js] [--text FILE]
//        [--timeout 20000] [--after 300] [--chromium PATH]
//
// --wait and --wait-css may be given several times; all have to hold (and no --gone text may be there). The actions come after that.
// --text writes what can be read on the page. --eval prints the value of a script as JSON. Exit code 1 when the time runs out, with what was on the page.

import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { browse, pause } from "./browser.mjs";

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

const flags = ["--hide-scrollbars", `--window-size=${wish.width},${wish.height}`];
const limit = Number(wish.timeout) + 15000;
browse({ script: "panel_shot.mjs", flags, limit, program: wish.chromium }, async ({ page, evaluate }) => {
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
});
