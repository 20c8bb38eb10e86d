#!/usr/bin/env python3
"""The peer of benches/delivery.rs: signs events by the Python package `standardwebhooks` and posts them by `httpx` over kept connections, so many at
once. It keeps nothing: no outbox, no order, no second attempt.

usage: .lab/venv/bin/python benches/webhook_peer.py URL SECRET AT_ONCE [--ca FILE] [--core N] < events, one JSON object a line

Prints one JSON object: {"sent": …, "seconds": …, "cpu_seconds": …, "library": …}. Reading the events and starting are not measured.
"""

import argparse
import asyncio
import datetime
import importlib.metadata
import json
import os
import resource
import ssl
import sys
import time

try:
    import httpx
    from standardwebhooks import Webhook
except ImportError as missing:
    sys.exit(f"webhook_peer: error: {missing}: run tests/lab/setup.sh, and this with .lab/venv/bin/python")


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def send(args, events):
    trust = ssl.create_default_context(cafile=args.ca) if args.ca else True
    limits = httpx.Limits(max_connections=args.at_once, max_keepalive_connections=args.at_once)
    signer, waiting = Webhook(args.secret), iter(events)

    async with httpx.AsyncClient(verify=trust, limits=limits, trust_env=False, timeout=15) as client:

        async def worker():
            for body in waiting:
                event = json.loads(body)["id"]
                now = datetime.datetime.now(tz=datetime.timezone.utc)
                headers = {
                    "content-type": "application/cloudevents+json; charset=utf-8",
                    "webhook-id": event,
                    "webhook-timestamp": str(int(now.timestamp())),
                    "webhook-signature": signer.sign(event, now, body),
                }
                answer = await client.post(args.url, content=body.encode(), headers=headers)
                answer.raise_for_status()

        await asyncio.gather(*(worker() for _ in range(args.at_once)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("secret")
    parser.add_argument("at_once", type=int)
    parser.add_argument("--ca")
    parser.add_argument("--core", type=int)
    args = parser.parse_args()
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    events = [line.rstrip("\n") for line in sys.stdin]
    began, before = time.perf_counter(), cpu()
    asyncio.run(send(args, events))
    seconds, used = time.perf_counter() - began, cpu() - before
    names = [f"{name} {importlib.metadata.version(name)}" for name in ("standardwebhooks", "httpx")]
    print(json.dumps({"sent": len(events), "seconds": seconds, "cpu_seconds": used, "library": ", ".join(names)}))


main()
