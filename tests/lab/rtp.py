#!/usr/bin/env python3
"""Sends one sound as RTP (PCMU, 20 ms), then silence: rtp.py LOCAL_PORT REMOTE_PORT FILE.wav SECONDS [BEGIN]. Standard library only.

SIPp plays one stream a call; a recording session has one for every speaker. Several recorders of one conversation name the same file BEGIN:
the first writes into it when the conversation began, and who comes later sends what is said by then, not the beginning.
"""

import os
import pathlib
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import lab
import ulaw

FRAME = 160


def missed(begins):
    """Frames of the conversation that are over; nothing of it when this process is its first."""
    now = time.time()
    try:
        with open(begins, "x") as file:
            file.write(repr(now))
        return 0
    except FileExistsError:
        return max(0, round((now - float(pathlib.Path(begins).read_text() or now)) * 50))


def main():
    local, remote, wav, seconds, *begins = sys.argv[1:]
    os.closerange(3, 256)  # SIPp's sockets: this process outlives it
    lab.before_others()
    sound = ulaw.from_wav(wav, 0, "PCMU")
    frames = int(float(seconds) * 50)
    sound = sound[missed(begins[0]) * FRAME :] if begins else sound
    sound = sound[: frames * FRAME].ljust(frames * FRAME, ulaw.silence("PCMU"))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.bind(("127.0.0.1", int(local)))
    ssrc, begin = int(local) * 65_537 % 2**32, time.monotonic()
    for number in range(frames):
        head = struct.pack("!BBHII", 0x80, 0x80 if number == 0 else 0, number & 0xFFFF, number * FRAME, ssrc)
        wait = begin + number * 0.02 - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        sender.sendto(head + sound[number * FRAME : (number + 1) * FRAME], ("127.0.0.1", int(remote)))


if __name__ == "__main__":
    main()
