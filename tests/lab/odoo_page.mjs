#!/usr/bin/env node
// Opens the page of an Odoo record as an operator does who follows a link and is logged in: waits for the form, prints the record's name as the
// page shows it, and takes a picture.
//
//   node tests/lab/odoo_page.mjs --url URL --database DATABASE --login LOGIN --password PASSWORD --out FILE.png [--wait TEXT]… [--text FILE]
//        [--width 1280] [--height 900] [--timeout 60000] [--chromium PATH]
//
// URL is the record's: http://HOST/web#id=7&model=crm.phonecall&view_type=form. --wait: a text that has to be seen too (or stand in a field).
// --text writes what can be read on the page. Exit code 1 when the time runs out, with what was on the page.

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { browse, pause } from "./browser.mjs";

const text = { type: "string" };
const { values: wish } = parseArgs({
  options: {
    url: text, database: text, login: text, password: text, out: text, wait: { ...text, multiple: true, default: [] }, text,
    width: { ...text, default: "1280" }, height: { ...text, default: "900" }, timeout: { ...text, default: "60000" }, chromium: text,
  },
});
if (!wish.url || !wish.database || !wish.login || !wish.password || !wish.out) {
  console.error("odoo_page.mjs: --url, --database, --login, --password and --out are needed");
  process.exit(2);
}

// What the page says and what its fields hold.
const READABLE = `[document.body?.innerText ?? "", ...[...document.querySelectorAll("input, textarea")].map((field) => field.value)].join("\\n")`;
const FORM = `Boolean(document.querySelector(".o_form_view")) && !document.querySelector(".o_loading:not([style*='none'])")`;
const NAME = `document.querySelector(".o_control_panel .breadcrumb-item.active")?.textContent.trim() ?? ""`;

// A session of Odoo. Not by the page that asks for the login: Odoo gives a new session then and puts the one that a request came with into every
// answer, so that a late answer to that page (its logo) takes the new session away from the browser.
async function session() {
  const params = { db: wish.database, login: wish.login, password: wish.password };
  const body = JSON.stringify({ jsonrpc: "2.0", method: "call", params });
  const headers = { "content-type": "application/json" };
  const url = new URL("/web/session/authenticate", wish.url);
  const answer = await fetch(url, { method: "POST", headers, body }).catch((error) => {
    throw new Error(`${url}: ${error.cause?.message ?? error.message}; is Odoo there (tests/lab/odoo.sh up)?`);
  });
  const told = await answer.text();
  const cookie = /session_id=([^;]+)/.exec(answer.headers.get("set-cookie"));
  if (!cookie || !answer.ok || !JSON.parse(told).result?.uid) throw new Error(`${url} refuses the login (${answer.status}): ${told}`);
  return cookie[1];
}

const flags = ["--hide-scrollbars", `--window-size=${wish.width},${wish.height}`];
const limit = Number(wish.timeout) + 15000;
browse({ script: "odoo_page.mjs", flags, limit, program: wish.chromium }, async ({ page, evaluate }) => {
  const until = Date.now() + Number(wish.timeout);
  const seen = async (what, condition) => {
    while (!(await evaluate(condition).catch(() => false))) {
      if (Date.now() > until) throw new Error(`${what} was not seen in time\n--- on the page:\n${await evaluate(READABLE)}`);
      await pause(50);
    }
  };
  const size = { width: Number(wish.width), height: Number(wish.height) };
  await page("Emulation.setDeviceMetricsOverride", { ...size, deviceScaleFactor: 1, mobile: false });
  // Odoo shows times in the browser's zone
  await page("Emulation.setTimezoneOverride", { timezoneId: "Asia/Tokyo" });
  await page("Page.enable");
  await page("Network.setCookie", { url: wish.url, name: "session_id", value: await session(), httpOnly: true });
  await page("Page.navigate", { url: wish.url });
  await seen("the form", FORM);
  for (const word of wish.wait) await seen(JSON.stringify(word), `${READABLE}.includes(${JSON.stringify(word)})`);
  console.log(await evaluate(NAME));
  if (wish.text) writeFileSync(wish.text, await evaluate(READABLE));
  const { data } = await page("Page.captureScreenshot", { format: "png" });
  writeFileSync(wish.out, Buffer.from(data, "base64"));
});
