// Answers on their way. Each is kept in the browser until the service has said what became of it, and
// is sent under one request id, so that sending it twice changes nothing.

import { pauseMs, requestId, sleep } from "./api.js";

const MAX_WAIT_MS = 5000;

export class Outbox {
  /** onChange: called whenever an answer is added, settled or refused. */
  constructor(api, campaign, labeler, { onChange, onRefused }) {
    this.api = api;
    this.campaign = campaign;
    this.key = `relabel:outbox:${campaign}:${labeler}`;
    this.onChange = onChange;
    this.onRefused = onRefused;
    this.waiting = JSON.parse(localStorage.getItem(this.key) ?? "[]");
    this.isKept = true;
    this.sending = null;
    this.isStuck = false;
  }

  get size() {
    return this.waiting.length;
  }

  add(result, about) {
    this.waiting.push({ requestId: requestId(), result, about });
    this.keep();
    this.flush();
  }

  /** Sends what waits, in its order, until none is left. */
  flush() {
    this.sending ??= this.sendAll().finally(() => (this.sending = null));
    return this.sending;
  }

  async sendAll() {
    for (let waitMs = 200; this.waiting.length; ) {
      const answer = this.waiting[0];
      try {
        const response = await this.api.once("SubmitResults", this.request(answer));
        this.settle(answer, response.outcomes[0].status);
        [waitMs, this.isStuck] = [200, false];
      } catch (error) {
        const pause = pauseMs(error, waitMs);
        if (pause === null) {
          if (error.code === "unauthenticated" || error.code === "permission_denied") {
            this.isStuck = true;
            this.onChange(error);
            return; // kept: another token may send it
          }
          this.drop(answer);
          this.onRefused(answer, error.message);
          continue;
        }
        this.isStuck = true;
        this.onChange(error);
        await sleep(pause);
        waitMs = Math.min(2 * waitMs, MAX_WAIT_MS);
      }
    }
  }

  /** As the page goes away: the browser sends what it can, and what it cannot stays kept. */
  sendLast() {
    for (const answer of this.waiting.slice(0, 20)) {
      this.api.once("SubmitResults", this.request(answer), { keepalive: true }).catch(() => {});
    }
  }

  request(answer) {
    return { parent: this.campaign, results: [answer.result], requestId: answer.requestId };
  }

  settle(answer, status) {
    this.drop(answer);
    if (status === "RESULT_STATUS_STALE")
      this.onRefused(answer, "the lease had ended and the item went to somebody else, or was answered before");
    if (status === "RESULT_STATUS_CLOSED") this.onRefused(answer, "the campaign was closed before");
  }

  drop(answer) {
    this.waiting = this.waiting.filter((each) => each !== answer);
    this.keep();
  }

  keep() {
    try {
      if (this.waiting.length) localStorage.setItem(this.key, JSON.stringify(this.waiting));
      else localStorage.removeItem(this.key);
      this.isKept = true;
    } catch {
      this.isKept = false; // no room: the page warns before it is closed
    }
    this.onChange(null);
  }
}
