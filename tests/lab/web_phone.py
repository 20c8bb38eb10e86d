#!/usr/bin/env python3
"""A softphone of somebody else (aiortc): sends two WAV files as two audio tracks by WHIP, in real time, then hangs up.

    web_phone.py --whip http://127.0.0.1:8082/whip --token TOKEN --agent own.wav --caller far.wav --talk-s 20

Runs in the Python environment that tests/lab/setup.sh makes. Exit code 1 when the endpoint refuses or the connection fails.
"""
import argparse
import asyncio
import os
import sys
import urllib.error
import urllib.request
from urllib.parse import urljoin

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer


def send(method, url, token, body=None, kind=None):
    """One request; the status, the headers and the text of the answer."""
    headers = {"Authorization": f"Bearer {token}"}
    if kind:
        headers["Content-Type"] = kind
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, refused.read().decode()


async def main(wish):
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    connected, failed = asyncio.Event(), asyncio.Event()

    @pc.on("connectionstatechange")
    def changed():
        print("connection:", pc.connectionState, flush=True)
        if pc.connectionState == "connected":
            connected.set()
        if pc.connectionState == "failed":
            failed.set()

    files = [wish.agent] if wish.caller is None else [wish.agent, wish.caller]
    if wish.swap:
        files.reverse()
    players = [MediaPlayer(file) for file in files]
    for player in players:
        pc.addTransceiver(player.audio, "sendonly")
    await pc.setLocalDescription(await pc.createOffer())
    offer = pc.localDescription.sdp.encode()
    status, headers, answer = await asyncio.to_thread(send, "POST", wish.whip, wish.token, offer, "application/sdp")
    if status != 201:
        print(f"refused with {status}: {answer}", file=sys.stderr)
        return 1
    await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    waits = [asyncio.create_task(connected.wait()), asyncio.create_task(failed.wait())]
    await asyncio.wait(waits, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    if not connected.is_set():
        print("no connection", file=sys.stderr)
        # its own close would wait for a connection
        os._exit(1)
    await asyncio.sleep(wish.talk_s)
    status, _, _ = await asyncio.to_thread(send, "DELETE", urljoin(wish.whip, headers["Location"]), wish.token)
    await pc.close()
    return 0 if status == 200 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whip", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--agent", required=True, help="WAV file of the own microphone")
    parser.add_argument("--caller", help="WAV file of the far end; without it there is one track")
    parser.add_argument("--swap", action="store_true", help="send the far end first, which is wrong")
    parser.add_argument("--talk-s", type=float, default=20)
    sys.exit(asyncio.run(main(parser.parse_args())))
