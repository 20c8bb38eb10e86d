// A WHIP client (RFC 9725): one POST, candidates as they come (PATCH), ICE restarts, and DELETE at the end. Knows nothing of the page.

const SDP = "application/sdp";
const SDPFRAG = "application/trickle-ice-sdpfrag";

/** A refusal of the endpoint: its status and words. */
export class WhipError extends Error {
  constructor(status, text, retryAfter) {
    super(text);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** One call. `tracks` are sent in their order: the own microphone first, then the far end. */
export class WhipCall {
  constructor(endpoint, token, tracks, onState) {
    this.endpoint = endpoint;
    this.token = token;
    this.onState = onState;
    this.pending = [];
    this.ended = false;
    this.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    for (const track of tracks) this.pc.addTransceiver(track, { direction: "sendonly", streams: [new MediaStream([track])] });
    this.pc.onicecandidate = (event) => this.#found(event.candidate);
    this.pc.onconnectionstatechange = () => this.#changed();
  }

  /** Makes the offer; resolves when it is answered. */
  async start() {
    await this.pc.setLocalDescription();
    const response = await this.#send("POST", this.endpoint, { "Content-Type": SDP, Accept: SDP }, this.pc.localDescription.sdp);
    this.resource = new URL(response.headers.get("Location"), this.endpoint).href;
    this.etag = response.headers.get("ETag");
    const servers = iceServers(response.headers.get("Link"));
    if (servers.length > 0) this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers: servers });
    this.answer = await response.text();
    if (this.ended) return this.stop();
    await this.pc.setRemoteDescription({ type: "answer", sdp: this.answer });
    await this.#trickle();
  }

  /** Hangs up. `leaving`: the page goes away, and the request must outlive it. */
  stop(leaving = false) {
    this.ended = true;
    this.pc.close();
    if (!this.resource) return Promise.resolve();
    const resource = this.resource;
    this.resource = undefined;
    return fetch(resource, { method: "DELETE", headers: this.#authorization(), keepalive: leaving }).catch(() => undefined);
  }

  #authorization() {
    return { Authorization: `Bearer ${this.token}` };
  }

  async #send(method, url, headers, body) {
    const response = await fetch(url, { method, headers: { ...this.#authorization(), ...headers }, body });
    if (response.ok) return response;
    const text = await response.json().then((problem) => problem.error, () => "");
    throw new WhipError(response.status, text, response.headers.get("Retry-After"));
  }

  #found(candidate) {
    this.pending.push(candidate?.candidate ? `a=${candidate.candidate}` : "a=end-of-candidates");
    // those that are found together go together
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#trickle().catch((error) => this.onState("problem", error)), 50);
  }

  async #trickle() {
    if (!this.resource || this.pending.length === 0 || this.restarting) return;
    const lines = this.pending.splice(0);
    const body = [...credentials(this.pc.localDescription.sdp), "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0", ...lines, ""].join("\r\n");
    await this.#send("PATCH", this.resource, { "Content-Type": SDPFRAG, "If-Match": this.etag }, body);
  }

  #changed() {
    const state = this.pc.connectionState;
    if (this.ended) return;
    if (state === "disconnected") {
      // it often comes back by itself
      this.lost = setTimeout(() => this.restart().catch((error) => this.onState("problem", error)), 3000);
    } else {
      clearTimeout(this.lost);
    }
    this.onState(state);
  }

  /** Restarts ICE: another network, or the same one again. */
  async restart() {
    if (!this.resource || this.restarting) return;
    this.restarting = true;
    try {
      this.pc.restartIce();
      await this.pc.setLocalDescription();
      const body = [...credentials(this.pc.localDescription.sdp), "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0", ""].join("\r\n");
      const response = await this.#send("PATCH", this.resource, { "Content-Type": SDPFRAG, "If-Match": "*" }, body);
      this.etag = response.headers.get("ETag");
      const fresh = (await response.text()).split("\r\n");
      const value = (key) => fresh.find((line) => line.startsWith(key));
      this.answer = this.answer.replace(/a=ice-ufrag:.*/g, value("a=ice-ufrag:")).replace(/a=ice-pwd:.*/g, value("a=ice-pwd:"));
      await this.pc.setRemoteDescription({ type: "answer", sdp: this.answer });
    } finally {
      this.restarting = false;
    }
    await this.#trickle();
  }
}

function credentials(sdp) {
  return ["a=ice-ufrag:", "a=ice-pwd:"].map((key) => sdp.split("\r\n").find((line) => line.startsWith(key)));
}

function iceServers(link) {
  const parts = (link ?? "").split(/,(?=\s*<)/).filter((part) => /rel="?ice-server"?/.test(part));
  return parts.map((part) => ({ urls: part.slice(part.indexOf("<") + 1, part.indexOf(">")) }));
}
