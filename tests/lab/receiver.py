#!/usr/bin/env python3
"""A CRM's end of the webhooks, independent of Kakehashi: HMAC signatures are verified by the Python package `standardwebhooks`, Ed25519 ones by
`cryptography` over what the specification says is signed, and bodies are read by the CloudEvents SDK.

usage: .lab/venv/bin/python tests/lab/receiver.py --secret-file F --out events.jsonl [--port P] [--fail-first N [--retry-after S]]

The first line of F is the secret (whsec_…) or the sender's public key (whpk_…).

Prints its address as the first line of standard output, then stays until SIGTERM or Ctrl-C.

POST (any path)  204  the signature fits and the body is a CloudEvent: one line of JSON was appended to --out; none for an id that came before
                 503  the first --fail-first of those, with Retry-After if asked for; nothing is appended
                 400  the signature fits, but the body is no CloudEvent in structured mode or has another id than `webhook-id`
                 401  the signature does not fit, a header is missing or malformed, or the timestamp is off by more than 5 min
                 411, 413  no Content-Length; more than 8 MiB
GET /counts      200  {"accepted": …, "failed_on_purpose": …, "not_an_event": …, "refused": …, "repeated": …}, answers since the start

A line of --out: {"received_us": µs since 1970, "webhook_id": …, "webhook_timestamp": s since 1970, "path": …, "event": the body, "attributes": and
"data": as the CloudEvents SDK understands them}.
Lines stand in the order of acceptance and are written before the answer, so a receiver that is killed has what it accepted. An existing
file is continued: to stand for a CRM that was down, stop the receiver and start it again with the same --port and --out.
"""

import argparse
import base64
import datetime
import http.server
import json
import os
import pathlib
import signal
import sys
import threading
import time

try:
    from cloudevents.core.bindings.http import HTTPMessage, from_http_event
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from standardwebhooks import Webhook
except ImportError as missing:
    sys.exit(f"receiver: error: {missing}: run tests/lab/setup.sh, and this with .lab/venv/bin/python")

MOST_BYTES = 8 * 1024 * 1024
REQUIRED = ("specversion", "id", "source", "type")
TOLERANCE_S = 300


class Asymmetric:
    """Verifies `v1a` (Standard Webhooks 1.0.0, "Signature scheme"): `webhook-id.webhook-timestamp.body`, signed with Ed25519."""

    def __init__(self, public):
        self.key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_"), validate=True))

    def verify(self, body, headers):
        stamp = headers["webhook-timestamp"]
        if abs(time.time() - int(stamp)) > TOLERANCE_S:
            raise ValueError("the timestamp is too old or too new")
        signed = f"{headers['webhook-id']}.{stamp}.".encode() + body
        for version, _, signature in (one.partition(",") for one in headers["webhook-signature"].split(" ")):
            if version == "v1a" and self.is_of(signature, signed):
                return json.loads(body)
        raise ValueError("no signature fits")

    def is_of(self, signature, signed):
        try:
            self.key.verify(base64.b64decode(signature, validate=True), signed)
        except Exception:  # InvalidSignature, or no base64
            return False
        return True


class Receiver(http.server.ThreadingHTTPServer):
    """The server with what it has seen so far."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, secret, out, fail_first=0, retry_after=None):
        super().__init__(("127.0.0.1", port), Handler)
        self.webhook = Asymmetric(secret) if secret.startswith("whpk_") else Webhook(secret)
        self.seen = set()
        if out.exists():
            whole, _, _ = out.read_text().rpartition("\n")
            self.seen = {json.loads(line)["webhook_id"] for line in whole.splitlines()}
        self.out = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.fail_first = fail_first
        self.retry_after = retry_after
        self.lock = threading.Lock()
        self.counts = {"accepted": 0, "failed_on_purpose": 0, "not_an_event": 0, "refused": 0, "repeated": 0}

    def judge(self, headers, path, body):
        """Verifies, keeps and counts one request; returns the status and the reason."""
        received = time.time_ns() // 1000
        try:
            event = self.webhook.verify(body, headers)
        except Exception as error:  # the library raises ValueError and others too on malformed headers
            return self.count("refused", 401, f"{type(error).__name__}: {error}")
        problem = no_event(event, headers)
        if problem:
            return self.count("not_an_event", 400, problem)
        try:
            understood = from_http_event(HTTPMessage(headers, body))
        except Exception as error:  # whatever the SDK makes of it
            return self.count("not_an_event", 400, f"{type(error).__name__}: {error}")
        line = {"received_us": received, "webhook_id": headers["webhook-id"], "webhook_timestamp": int(headers["webhook-timestamp"]),
                "path": path, "event": event, "attributes": understood.get_attributes(), "data": understood.get_data()}
        with self.lock:
            if headers["webhook-id"] in self.seen:
                self.counts["repeated"] += 1
                return 204, ""
            if self.counts["failed_on_purpose"] < self.fail_first:
                self.counts["failed_on_purpose"] += 1
                return 503, "failed on purpose"
            self.counts["accepted"] += 1
            self.seen.add(headers["webhook-id"])
            write_all(self.out, json.dumps(line, ensure_ascii=False, default=text_of).encode() + b"\n")
        return 204, ""

    def count(self, what, status, reason):
        with self.lock:
            self.counts[what] += 1
        return status, reason


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "receiver"

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if not length.isdigit():
            return self.leave(411, "Content-Length is needed")
        if int(length) > MOST_BYTES:
            return self.leave(413, f"more than {MOST_BYTES} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return None
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, reason = self.server.judge(headers, self.path, body)
        return self.answer(status, reason)

    def do_GET(self):
        if self.path != "/counts":
            return self.answer(404, "only /counts")
        with self.server.lock:
            text = json.dumps(self.server.counts)
        return self.answer(200, text)

    def leave(self, status, reason):
        """Answers without having read the body, and closes."""
        self.close_connection = True
        self.answer(status, reason)

    def answer(self, status, text):
        self.send_response(status)
        if status == 503 and self.server.retry_after is not None:
            self.send_header("Retry-After", str(self.server.retry_after))
        if self.close_connection:
            self.send_header("Connection", "close")
        if status != 204:
            self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        if status != 204:
            self.wfile.write(text.encode())
        if status in (400, 401):
            print(f"receiver: {status}: {text}", file=sys.stderr, flush=True)

    def log_message(self, *_):
        pass


def no_event(event, headers):
    """What keeps a verified body from being a CloudEvent 1.0 in structured JSON mode; None when nothing does."""
    if headers.get("content-type", "").split(";")[0].strip() != "application/cloudevents+json":
        return "Content-Type is not application/cloudevents+json"
    if not isinstance(event, dict):
        return "the body is no JSON object"
    for name in REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            return f"the required attribute {name} is missing, empty or no string"
    if event["specversion"] != "1.0":
        return "specversion is not 1.0"
    if event["id"] != headers["webhook-id"]:
        return "webhook-id is not the event's id"
    return None


def text_of(value):
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
    raise TypeError(f"an attribute of type {type(value).__name__}")


def write_all(file, data):
    while data:
        data = data[os.write(file, data):]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--secret-file", type=pathlib.Path, required=True, help="file whose first line is the secret, whsec_…, or whpk_…")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="file that gets one line of JSON per accepted event")
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1; 0 (the default) takes a free one")
    parser.add_argument("--fail-first", type=int, default=0, metavar="N", help="answer 503 to the first N genuine events")
    parser.add_argument("--retry-after", type=int, metavar="S", help="Retry-After of those answers, in seconds")
    arguments = parser.parse_args()
    try:
        secret = arguments.secret_file.read_text().split()[0]
        receiver = Receiver(arguments.port, secret, arguments.out, arguments.fail_first, arguments.retry_after)
    except IndexError:
        sys.exit(f"receiver: error: {arguments.secret_file} is empty: expected whsec_ or whpk_ and base64 in its first line")
    except (OSError, ValueError) as error:
        sys.exit(f"receiver: error: {error}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"http://127.0.0.1:{receiver.server_port}/", flush=True)
    try:
        receiver.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
