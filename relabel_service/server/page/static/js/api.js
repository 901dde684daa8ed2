// The service's calls, by the Connect protocol in JSON, with the caller's token in a header.

const SERVICE = "/relabel_service.v1.RelabelService/";
const FIRST_WAIT_MS = 200;
const MAX_WAIT_MS = 5000;
const PASSING = new Set(["unavailable", "deadline_exceeded"]);

/** A call that the service refused. code: Connect's, as "not_found". */
export class Refused extends Error {
  constructor({ code, message, details = [] }) {
    super(message);
    this.code = code;
    this.retryAfterMs = retryAfterMs(details);
  }
}

/** The service cannot be reached, or something before it answered in its place. */
export class Unreachable extends Error {}

export class Api {
  /** credentials: {token}, or {labeler} where the service has no keys. */
  constructor(credentials) {
    this.headers = credentials.token
      ? { authorization: `Bearer ${credentials.token}` }
      : { "relabel-labeler": encodeName(credentials.labeler) };
  }

  /** One attempt. keepalive: the browser sends it even if the page goes away. */
  async once(method, request, { signal, keepalive = false } = {}) {
    let response;
    try {
      response = await fetch(SERVICE + method, {
        method: "POST",
        headers: { ...this.headers, "content-type": "application/json", "connect-protocol-version": "1" },
        body: JSON.stringify(request),
        signal,
        keepalive,
        credentials: "omit",
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Unreachable("the service cannot be reached");
    }
    return answerOf(response);
  }

  /** Tried again while that may help, with growing waits; a request_id makes that harmless. */
  async call(method, request, { signal, attempts = 6 } = {}) {
    for (let number = 1, waitMs = FIRST_WAIT_MS; ; number++, waitMs = Math.min(2 * waitMs, MAX_WAIT_MS)) {
      try {
        return await this.once(method, request, { signal });
      } catch (error) {
        const pause = pauseMs(error, waitMs);
        if (pause === null || number >= attempts || signal?.aborted) throw error;
        await sleep(pause, signal);
      }
    }
  }

  /** What GET of a path gives, as a Blob or as JSON. */
  async get(path, { signal, as = "json" } = {}) {
    let response;
    try {
      response = await fetch(path, { headers: this.headers, signal, credentials: "omit" });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Unreachable("the service cannot be reached");
    }
    if (!response.ok) return answerOf(response);
    return as === "blob" ? response.blob() : response.json();
  }

  /** Calls `onSeen` with each WatchCampaignResponse until the campaign ends or `signal` is aborted. */
  async watch(campaign, onSeen, signal) {
    for (let waitMs = FIRST_WAIT_MS; !signal.aborted; waitMs = Math.min(2 * waitMs, MAX_WAIT_MS)) {
      try {
        const response = await fetch(`/${campaign}/events`, { headers: this.headers, signal, credentials: "omit" });
        if (!response.ok) return await answerOf(response);
        for await (const { event, data } of events(response.body)) {
          if (event !== "campaign") break;
          onSeen(data);
          waitMs = FIRST_WAIT_MS;
          if (data.campaign.state === "CAMPAIGN_STATE_FINALIZED") return;
        }
      } catch (error) {
        if (signal.aborted || error instanceof Refused) return;
      }
      await sleep(waitMs, signal);
    }
  }
}

/** How long to wait before the same call again; null where that is of no use. */
export function pauseMs(error, waitMs) {
  if (error instanceof Unreachable) return waitMs;
  if (!(error instanceof Refused)) return null;
  if (error.code === "resource_exhausted") return error.retryAfterMs;
  return PASSING.has(error.code) ? waitMs : null;
}

export function requestId() {
  // crypto.randomUUID exists in secure contexts alone, and a plain http:// host is none.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

export function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/** The service's answers are JSON, and its refusals have a code. Whatever else comes is a gateway's, a
 * sign-in page's, or Ray Serve's, whose 500 says that the replica ended: it decides about no answer. */
async function answerOf(response) {
  const text = await response.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // Told below.
  }
  if (response.ok && body !== null) return body;
  if (body?.code) throw new Refused(body);
  throw new Unreachable(`the service cannot be reached: something before it answered ${response.status}`);
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    pending += value;
    const parts = pending.split("\n\n");
    pending = parts.pop();
    for (const part of parts) {
      const fields = Object.fromEntries(
        part.split("\n").filter((line) => !line.startsWith(":")).map((line) => line.split(/: (.*)/s).slice(0, 2)),
      );
      if (fields.data) yield { event: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

/** google.rpc.RetryInfo {1: Duration {1: seconds, 2: nanos}}, of which nothing else is read. */
function retryAfterMs(details) {
  const info = details.find((detail) => detail.type === "google.rpc.RetryInfo");
  if (!info) return null;
  const bytes = Uint8Array.from(atob(info.value), (character) => character.charCodeAt(0));
  const fields = varints(bytes.subarray(2));
  return 1000 * (fields[1] ?? 0) + (fields[2] ?? 0) / 1e6;
}

function varints(bytes) {
  const fields = {};
  for (let at = 0; at < bytes.length; ) {
    const field = bytes[at++] >> 3;
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      value += (bytes[at] & 0x7f) * scale;
      if (bytes[at++] < 128) break;
    }
    fields[field] = value;
  }
  return fields;
}

function encodeName(name) {
  // fetch takes header values as bytes; the service reads them as UTF-8.
  return String.fromCharCode(...new TextEncoder().encode(name));
}
