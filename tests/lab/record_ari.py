#!/usr/bin/env python3
"""Records what ARI sends, one event a line, until Ctrl-C or --seconds: how tests/data/ari/*.jsonl were made.

    tests/lab/record_ari.py --seconds 30 > trace.jsonl
"""

import argparse
import base64
import os
import socket
import struct
import sys
import time
import urllib.parse

import lab


def connect(app):
    """Opens the event socket by hand (RFC 6455), so that the record does not depend on the code under test."""
    parts = urllib.parse.urlsplit(lab.ARI_URL)
    stream = socket.create_connection((parts.hostname, parts.port), timeout=10)
    token = base64.b64encode(f"{lab.ARI_USER}:{lab.ARI_PASSWORD}".encode()).decode()
    key = base64.b64encode(os.urandom(16)).decode()
    stream.sendall(
        f"GET {parts.path}/events?app={app}&subscribeAll=true HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Basic {token}\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += stream.recv(1)
    if b" 101 " not in head.split(b"\r\n")[0]:
        raise lab.LabError("ARI refused the event socket: " + head.split(b"\r\n")[0].decode())
    return stream


def exactly(stream, count):
    """Reads `count` bytes."""
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def events(stream):
    """Text messages of the socket; answers nothing, as Asterisk expects no answer."""
    while True:
        first, second = exactly(stream, 2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", exactly(stream, 2))
        elif size == 127:
            (size,) = struct.unpack(">Q", exactly(stream, 8))
        body = exactly(stream, size)
        if first & 0x0F == 1:
            yield body.decode()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--app", default="recorder")
    parser.add_argument("--seconds", type=float, default=3600)
    arguments = parser.parse_args()
    stream = connect(arguments.app)
    deadline = time.monotonic() + arguments.seconds
    stream.settimeout(0.5)
    try:
        source = events(stream)
        while time.monotonic() < deadline:
            try:
                print(next(source), flush=True)
            except StopIteration:
                source = events(stream)
            except TimeoutError:
                source = events(stream)
    except (KeyboardInterrupt, EOFError):
        sys.exit(0)


if __name__ == "__main__":
    main()
