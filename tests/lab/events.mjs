// Judges docs/asyncapi.json by programs that are none of ours: the AsyncAPI initiative's parser reads it, and ajv checks what is sent, one
// {"message": NAME, "payload": {...}} a line on standard input, against the message of that name. With "spoil": true it makes wrong ones of it, too.
// Prints one line of JSON: problems, how many were accepted of each message, how many wrong ones were refused, and which were taken.
//
//   NODE_FOLDER=.lab/node node tests/lab/events.mjs docs/asyncapi.json < sent.jsonl
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const require = createRequire(`${process.env.NODE_FOLDER}/`);
const { Parser } = require('@asyncapi/parser');
const Ajv = require('ajv').default;
const formats = require('ajv-formats').default;

const text = readFileSync(process.argv[2], 'utf8');
const { document, diagnostics } = await new Parser().parse(text);
const problems = diagnostics.filter(({ severity }) => severity <= 1).map(({ message, path }) => `${path.join('.')}: ${message}`);
if (!document) problems.push('the parser made no document of it');

const api = JSON.parse(text);
const ajv = new Ajv({ strict: true, strictRequired: false, strictTypes: false, allErrors: true });
formats(ajv);
ajv.addVocabulary(['components']);
ajv.addSchema({ components: api.components }, 'api', false, false);
const compiled = new Map();
function judge(message, payload) {
  if (!compiled.has(message)) compiled.set(message, ajv.compile({ $ref: `api#/components/messages/${message}/payload` }));
  const check = compiled.get(message);
  return check(payload) ? [] : check.errors.map(({ instancePath, message }) => `${instancePath} ${message}`);
}

// Every object that is in an event, with the way to it.
function* objects(value, path = []) {
  if (value === null || typeof value !== 'object') return;
  if (!Array.isArray(value)) yield path;
  for (const [key, inner] of Object.entries(value)) yield* objects(inner, [...path, key]);
}
const at = (event, path) => path.reduce((value, key) => value[key], event);
// Fields that hold one word of a closed list.
const words = new Set(['type', 'specversion', 'kind', 'tier', 'speaker', 'scope', 'cause', 'lookup', 'by', 'relation', 'verstat']);
// Wrong ones: without a field, with null in it, of another kind, with a word that is none of the list, with a UUID that is too long.
function* wrong(event) {
  for (const path of objects(event)) {
    for (const [key, value] of Object.entries(at(event, path))) {
      const made = (change) => {
        const copy = structuredClone(event);
        change(at(copy, path), key);
        return { what: [...path, key].join('.'), copy };
      };
      yield { kind: 'missing', ...made((object, name) => delete object[name]) };
      yield { kind: 'null', ...made((object, name) => (object[name] = null)) };
      yield { kind: 'shape', ...made((object, name) => (object[name] = typeof value === 'string' ? 7 : 'seven')) };
      if (words.has(key)) yield { kind: 'word', ...made((object, name) => (object[name] = `${value}x`)) };
      if (/^[0-9a-f-]{36}$/.test(value)) yield { kind: 'uuid', ...made((object, name) => (object[name] = `${value}0`)) };
    }
  }
}

const accepted = {};
const refused = {};
const taken = { missing: new Set(), null: new Set(), shape: new Set(), word: new Set(), uuid: new Set() };
for (const line of readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
  const { message, payload, spoil } = JSON.parse(line);
  problems.push(...judge(message, payload).map((fault) => `${message}: ${fault}`));
  accepted[message] = (accepted[message] ?? 0) + 1;
  for (const { kind, what, copy } of spoil ? wrong(payload) : []) {
    if (judge(message, copy).length > 0) refused[kind] = (refused[kind] ?? 0) + 1;
    else taken[kind].add(`${message} ${what.replace(/\.\d+/g, '')}`);
  }
}
const sorted = Object.fromEntries(Object.entries(taken).map(([kind, all]) => [kind, [...all].sort()]));
console.log(JSON.stringify({ problems, accepted, refused, taken: sorted }));
