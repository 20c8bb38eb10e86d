"""A telephone for the laboratory that SIPp's one-call scenarios cannot play: several calls at once, hold, REFER (blind, and attended
with Replaces), 302, digits. SIP over UDP on 127.0.0.1, G.711 µ-law. Python's standard library only, no code of the product.

    with phone.Phone("2001", 15201, sound=path) as agent:
        call = agent.incoming(); call.ring(); call.answer()
        other = agent.call("3001"); other.answered()
        call.refer("3001", replaces=other)
"""

import itertools
import os
import re
import socket
import threading
import time
import urllib.parse

ASTERISK = ("127.0.0.1", 15060)
WAIT_S = 15
_count = itertools.count(1)


class PhoneError(Exception):
    """The exchange did not do what the scenario expects."""


class Phone:
    """One telephone; requests are answered by a thread of its own."""

    def __init__(self, user, port, sound=None, target=ASTERISK):
        self.user, self.target = user, target
        self.port = port
        self.sound = open(sound, "rb").read() if sound else b""
        self.calls = {}
        self.arrived = []
        self.changed = threading.Condition()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        self.socket.settimeout(0.2)
        self.open = True
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for call in list(self.calls.values()):
            call.silence()
        self.open = False
        self.thread.join(1)
        self.socket.close()

    def incoming(self, seconds=WAIT_S):
        """The next call that reaches this telephone."""
        self.until(lambda: self.arrived, seconds, "no call came")
        return self.arrived.pop(0)

    def call(self, number, who=None, display="", headers=()):
        """Calls `number`; see Call.answered."""
        call = Call(self, f"p{os.getpid()}x{next(_count)}@127.0.0.1")
        self.calls[call.id] = call
        name = f'"{display}" ' if display else ""
        call.local = f"{name}<sip:{who or self.user + '@127.0.0.1'}>;tag=t{next(_count)}x{os.getpid()}"
        call.remote = f"<sip:{number}@127.0.0.1:{self.target[1]}>"
        call.uri = f"sip:{number}@127.0.0.1:{self.target[1]}"
        call.request("INVITE", call.offer("sendrecv"), headers)
        return call

    def until(self, true, seconds, problem):
        """Waits until something is so."""
        with self.changed:
            if not self.changed.wait_for(true, seconds):
                raise PhoneError(f"{self.user}: {problem} within {seconds} s")

    def send(self, text, body=""):
        self.socket.sendto((text + f"Content-Length: {len(body)}\r\n\r\n" + body).encode(), self.target)

    def _listen(self):
        while self.open:
            try:
                data, _ = self.socket.recvfrom(65535)
            except socket.timeout:
                continue
            except OSError:
                return
            message = Message(data.decode(errors="replace"))
            with self.changed:
                self._take(message)
                self.changed.notify_all()

    def _take(self, message):
        call = self.calls.get(message.one("call-id"))
        if message.method is None:
            if call:
                call.response(message)
            return
        if call is None and message.method == "INVITE":
            call = Call(self, message.one("call-id"))
            call.invite = message
            call.remote = message.one("from")
            call.local = message.one("to") + f";tag=t{next(_count)}x{os.getpid()}"
            call.uri = message.contact()
            call.media(message)
            self.calls[call.id] = call
            self.arrived.append(call)
            call.reply(message, 100, "Trying")
        elif call is None:
            Call(self, message.one("call-id")).reply(message, 200 if message.method == "OPTIONS" else 481, "")
        else:
            call.asked(message)


class Call:
    """One dialog of a telephone."""

    def __init__(self, phone, id):
        self.phone, self.id = phone, id
        self.local = self.remote = self.uri = ""
        self.cseq, self.version = 0, 1
        self.invite = None
        self.status = 0
        self.accepted = self.ended = False
        self.statuses = []
        self.notified = ""
        self.to = None
        self.playing = False
        self.resent = set()
        self.rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.rtp.bind(("127.0.0.1", 0))

    # ---- what a scenario does

    def ring(self):
        """180."""
        self.reply(self.invite, 180, "Ringing", contact=True)

    def answer(self, play=True):
        """200 with sound."""
        self.reply(self.invite, 200, "OK", self.offer("sendrecv"), contact=True)
        self.accepted = True
        if play:
            self.play()

    def refuse(self, code, contact=None):
        """A final response other than 2xx; `contact` is the target of a 302."""
        extra = f"Contact: <sip:{contact}@127.0.0.1:{ASTERISK[1]}>\r\n" if contact else ""
        self.reply(self.invite, code, "No", extra=extra)
        self.ended = True

    def answered(self, seconds=WAIT_S, play=True):
        """Waits for the answer to a call that was made."""
        self.phone.until(lambda: self.accepted or self.status >= 300, seconds, "no answer")
        if not self.accepted:
            raise PhoneError(f"{self.phone.user}: refused with {self.status}")
        if play:
            self.play()
        return self

    def refused(self, seconds=WAIT_S):
        """Waits for the refusal of a call that was made; returns its code."""
        self.phone.until(lambda: self.status >= 300, seconds, "not refused")
        return self.status

    def rings(self, seconds=WAIT_S):
        """Waits until the other end rings."""
        self.phone.until(lambda: self.status in (180, 183) or self.accepted, seconds, "does not ring")

    def cancel(self):
        """Gives up while it rings."""
        self.send("CANCEL", self.cseq, branch=self.branch, remote=self.first_remote)

    def hold(self, on=True, quiet=True):
        """re-INVITE, sendonly or sendrecv. A telephone on hold sends nothing (`quiet`), or its own music: here, it plays on."""
        self.quiet = on and quiet
        self.version += 1
        self.reinvited = False
        self.request("INVITE", self.offer("sendonly" if on else "sendrecv"))
        self.phone.until(lambda: self.reinvited, WAIT_S, "no answer to re-INVITE")

    def refer(self, number, replaces=None):
        """Transfers the other party to `number`, or into another call of this telephone; waits for 202."""
        uri = f"sip:{number}@127.0.0.1:{ASTERISK[1]}"
        if replaces:
            tag = lambda header: re.search(r"tag=([^;>\s]+)", header).group(1)
            value = f"{replaces.id};to-tag={tag(replaces.remote)};from-tag={tag(replaces.local)}"
            uri += "?Replaces=" + urllib.parse.quote(value, safe="")
        self.refer_status = 0
        self.request("REFER", extra=f"Refer-To: <{uri}>\r\nReferred-By: <sip:{self.phone.user}@127.0.0.1>\r\n")
        self.phone.until(lambda: self.refer_status, WAIT_S, "no answer to REFER")
        if self.refer_status >= 300:
            raise PhoneError(f"{self.phone.user}: REFER refused with {self.refer_status}")

    def digits(self, text):
        """RFC 4733 events, 100 ms each, in the stream that plays."""
        for digit in text:
            self.pressed = "0123456789*#".index(digit)
            time.sleep(0.25)

    def hang_up(self):
        """BYE."""
        if not self.ended:
            self.request("BYE")
            self.ended = True
        self.silence()

    def over(self, seconds=WAIT_S):
        """Waits until the other side has ended it."""
        self.phone.until(lambda: self.ended, seconds, "not ended")
        self.silence()

    # ---- protocol

    def offer(self, direction):
        port = self.rtp.getsockname()[1]
        return (f"v=0\r\no=phone 1 {self.version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                f"m=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
                f"a=fmtp:101 0-15\r\na=ptime:20\r\na={direction}\r\n")

    def request(self, method, body="", headers=(), extra=""):
        self.cseq += 1
        self.branch = f"z9hG4bKp{os.getpid()}x{next(_count)}"
        self.first_remote = self.remote
        extra += "".join(line + "\r\n" for line in headers)
        self.send(method, self.cseq, body, extra, self.branch)

    def send(self, method, cseq, body="", extra="", branch=None, remote=None):
        branch = branch or f"z9hG4bKp{os.getpid()}x{next(_count)}"
        kind = "Content-Type: application/sdp\r\n" if body else ""
        self.phone.send(
            f"{method} {self.uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{self.phone.port};branch={branch};rport\r\nMax-Forwards: 70\r\n"
            f"From: {self.local}\r\nTo: {remote or self.remote}\r\nCall-ID: {self.id}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:{self.phone.user}@127.0.0.1:{self.phone.port}>\r\nAllow: INVITE, ACK, BYE, CANCEL, REFER, NOTIFY, OPTIONS\r\n"
            f"{extra}{kind}", body)

    def reply(self, request, code, reason, body="", contact=False, extra=""):
        to = request.one("to")
        if code > 100 and "tag=" not in to:
            to = self.local or to + ";tag=none"
        contact = f"Contact: <sip:{self.phone.user}@127.0.0.1:{self.phone.port}>\r\n" if contact else ""
        vias = "".join(f"Via: {via}\r\n" for via in request.all("via"))
        kind = "Content-Type: application/sdp\r\n" if body else ""
        self.phone.send(f"SIP/2.0 {code} {reason or 'X'}\r\n{vias}From: {request.one('from')}\r\nTo: {to}\r\nCall-ID: {self.id}\r\n"
                        f"CSeq: {request.one('cseq')}\r\n{contact}{extra}{kind}", body)

    def response(self, message):
        code, method = message.status, message.one("cseq").split()[-1]
        if method == "REFER" and code >= 200:
            self.refer_status = code
        if method != "INVITE":
            return
        if code < 200:
            self.status = code
            self.remote = message.one("to") if code > 100 and not self.accepted else self.remote
            return
        cseq = int(message.one("cseq").split()[0])
        if code < 300:
            self.remote = message.one("to")
            self.uri = message.contact() or self.uri
            self.media(message)
            self.send("ACK", cseq)
            self.accepted = self.reinvited = True
        else:
            self.send("ACK", cseq, branch=self.branch, remote=message.one("to"))
            self.ended = self.ended or not self.accepted
        self.status = code

    def asked(self, message):
        method = message.method
        if method == "INVITE":
            if self.invite and message.one("cseq") == self.invite.one("cseq"):
                return
            self.uri = message.contact() or self.uri
            self.media(message)
            self.reply(message, 200, "OK", self.offer("sendrecv"), contact=True)
        elif method == "CANCEL":
            self.reply(message, 200, "OK")
            self.reply(self.invite, 487, "Request Terminated")
            self.ended = True
        elif method == "ACK":
            pass
        else:
            if method == "NOTIFY":
                self.notified = message.body
            self.ended = self.ended or method == "BYE"
            self.reply(message, 200, "OK")

    def media(self, message):
        port = re.search(r"^m=audio (\d+)", message.body, re.M)
        if port:
            self.to = ("127.0.0.1", int(port.group(1)))

    # ---- sound

    pressed = None
    refer_status = 0
    reinvited = False
    quiet = False

    def play(self):
        """Plays the telephone's sound from its beginning, then silence, until the call is over."""
        self.playing = True
        threading.Thread(target=self._play, daemon=True).start()

    def silence(self):
        self.playing = False

    def _play(self):
        sequence, began, digit_left, said = 0, time.monotonic(), 0, 0
        ssrc = (next(_count) * 7919 + os.getpid()).to_bytes(4, "big")
        digit = 0
        while self.playing and not self.ended:
            frame = self.phone.sound[said * 160:(said + 1) * 160].ljust(160, b"\xff")
            kind, stamp = 0, sequence * 160
            if self.pressed is not None:
                digit, digit_left, self.pressed, pressed_at = self.pressed, 8, None, stamp
            if digit_left:
                digit_left -= 1
                duration = (8 - digit_left) * 160
                kind, stamp = 101, pressed_at
                frame = bytes([digit, 0x80 * (digit_left < 3) | 10]) + duration.to_bytes(2, "big")
            head = bytes([0x80, kind]) + (sequence & 0xFFFF).to_bytes(2, "big") + stamp.to_bytes(4, "big") + ssrc
            said += not self.quiet
            if self.to and not self.quiet:
                try:
                    self.rtp.sendto(head + frame, self.to)
                except OSError:
                    pass
            sequence += 1
            time.sleep(max(0.0, began + sequence * 0.02 - time.monotonic()))


class Message:
    """A SIP message, read as far as a telephone in the laboratory needs it."""

    SHORT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length"}

    def __init__(self, text):
        head, _, self.body = text.partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        self.method = None if first.startswith("SIP/2.0") else first.split()[0]
        self.status = int(first.split()[1]) if self.method is None else 0
        self.headers = []
        for line in lines:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            self.headers.append((self.SHORT.get(name, name), value.strip()))

    def all(self, name):
        return [value for header, value in self.headers if header == name]

    def one(self, name):
        return next(iter(self.all(name)), "")

    def contact(self):
        found = re.search(r"<([^>]+)>", self.one("contact"))
        return found.group(1) if found else ""
