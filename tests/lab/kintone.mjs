#!/usr/bin/env node
// Calls kintone's own client as a test says it: a line of JSON in is a call, a line out is what the client made of the answer.
//
//   NODE_FOLDER=.lab/node node tests/lab/kintone.mjs --url http://localhost:PORT
//
// In:  {"call": 1, "auth": {"apiToken": "…"}, "method": "record.addRecord", "params": {…}}
// Out: {"call": 1, "result": …} or {"call": 1, "error": {"kind", "status", "code", "message", "errors", "headers", "bulkRequestIndex"}}
// Calls do not wait for each other. Bytes go as {"base64": "…"} in both directions. Ends with its input.

import { createRequire } from "node:module";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

const { values: wish } = parseArgs({ options: { url: { type: "string" } } });
const require = createRequire(resolve(process.env.NODE_FOLDER ?? ".lab/node", "package.json"));
const { KintoneRestAPIClient, KintoneRestAPIError } = require("@kintone/rest-api-client");

const clients = new Map();

function client(auth) {
  const key = JSON.stringify(auth);
  // the client goes through no proxy of the machine's
  if (!clients.has(key)) clients.set(key, new KintoneRestAPIClient({ baseUrl: wish.url, auth, proxy: false }));
  return clients.get(key);
}

const told = (value) => (value instanceof ArrayBuffer || Buffer.isBuffer(value) ? { base64: Buffer.from(value).toString("base64") } : value);

function failure(error) {
  const own = error instanceof KintoneRestAPIError;
  const kind = own ? "KintoneRestAPIError" : error.name;
  const cause = error.error instanceof KintoneRestAPIError ? failure(error.error) : undefined; // of what was done in several requests
  const { status, code, message, errors, headers, bulkRequestIndex } = error;
  return { kind, status, code, message, errors, headers: own ? { ...headers } : undefined, bulkRequestIndex, cause };
}

async function answer({ call, auth, method, params }) {
  try {
    const [part, name] = method.includes(".") ? method.split(".") : [null, method];
    const api = part ? client(auth)[part] : client(auth);
    if (params?.file?.data) params.file.data = Buffer.from(params.file.data.base64, "base64");
    return { call, result: told(await api[name](params)) };
  } catch (error) {
    return { call, error: failure(error) };
  }
}

createInterface({ input: process.stdin }).on("line", async (line) => {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
});
