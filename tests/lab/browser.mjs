// A headless Chromium for the laboratory's scripts, with one page. Speaks the DevTools protocol over a pipe: no packages.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions", "--lang=ja", "--no-proxy-server",
  "--remote-debugging-pipe"];

export const pause = (ms) => new Promise((wake) => setTimeout(wake, ms));

// Runs `work` with a page of a browser of its own, and ends the process: code 0 when it went well, 1 when it did not or took longer than
// `limit` milliseconds, 2 without a browser. `script` is the name in messages, `flags` are more of them, `program` is another Chromium.
export async function browse({ script, flags, limit, program, gesture = false }, work) {
  const browser = program ?? PLACES.find((path) => existsSync(path));
  if (!browser) {
    console.error(`${script}: no Chromium; run tests/lab/chromium.sh`);
    process.exit(2);
  }
  const profile = mkdtempSync(join(tmpdir(), "kakehashi-page-"));
  const all = [...FLAGS, ...flags, `--user-data-dir=${profile}`, "about:blank"];
  // a process group of its own: the browser's helpers go with it
  const chromium = spawn(browser, all, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"], detached: true });
  const timer = setTimeout(() => finish(1, "it took too long"), limit);
  let done = false;
  function finish(code, problem) {
    if (done) return;
    done = true;
    clearTimeout(timer);
    if (problem) console.error(`${script}: ${problem}`);
    try {
      process.kill(-chromium.pid, "SIGKILL");
    } catch {
      // it is gone already
    }
    setTimeout(() => leave(script, profile, code), 100);
  }
  const send = talk(chromium);
  chromium.on("exit", () => finish(1, "the browser ended"));
  try {
    await work(await opened(send, gesture));
    finish(0);
  } catch (error) {
    finish(1, error.message);
  }
}

// JSON messages that end with NUL.
function talk(chromium) {
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
  return (method, params = {}, sessionId = undefined) => {
    const id = (next += 1);
    chromium.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
    return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  };
}

// A page: its DevTools methods, and the value of an expression on it.
async function opened(send, userGesture) {
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const page = (method, params) => send(method, params, sessionId);
  const evaluate = async (expression) => {
    const wanted = { expression, returnByValue: true, awaitPromise: true, userGesture };
    const { result, exceptionDetails } = await page("Runtime.evaluate", wanted);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  return { page, evaluate };
}

function leave(script, profile, code) {
  try {
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  } catch (error) {
    console.error(`${script}: ${profile} is left behind: ${error.code}`);
  }
  process.exit(code);
}
