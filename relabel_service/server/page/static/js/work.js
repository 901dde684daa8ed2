// Labeling: items are leased ahead, shown one by one, and answered by a key. What is leased is kept while
// this tab lives, and found again when it comes back.

import { Refused, Unreachable, requestId, sleep } from "./api.js";
import { $, h, kbd, keyButton, percent, say, show } from "./dom.js";
import { editorFor } from "./editors/index.js";
import { decisionFor, inWords, isSame, labelOf } from "./labels.js";
import { Outbox } from "./outbox.js";

const AHEAD = 6; // items leased beyond the one on screen
const FEW = 3; // of them left: more are leased, several in one call
const WAIT_S = 20; // how long one call waits for an item
const MAX_UNDO = 50;
const KEYS = [
  ["c", "confirm the human label"],
  ["a", "accept the suggestion"],
  ["p", "take the preferred label"],
  ["s", "skip"],
  ["e", "escalate"],
  ["m", "comment on the next answer"],
  ["u", "undo: correct the last answer"],
];

/** What an item is called: where gold items are mixed in, its row's id is hidden. */
const nameOf = (item) => item.rowId || item.name.split("/").at(-1);

/** Labels one campaign until `signal` is aborted. One tab a person: a second one asks to take over. */
export async function label(session, campaign, { adjudicate, signal }) {
  const name = `relabel:${campaign.name}:${session.name}:${adjudicate}`;
  const work = new Work(session, campaign, adjudicate, signal);
  if (!navigator.locks) return work.run(); // a page of plain http:// from another machine
  const hold = async (options) => {
    try {
      return await navigator.locks.request(name, options, async (lock) => {
        if (lock) await work.run();
        return Boolean(lock);
      });
    } catch (error) {
      if (error.name !== "AbortError" || signal.aborted) throw error;
      work.isTaken = true; // its leases are the other tab's now
      work.abort.abort();
      show(h("h2", {}, "Another tab has taken over"), h("p", {}, h("a", { href: "#/" }, "All campaigns")));
      return true;
    }
  };
  if ((await hold({ ifAvailable: true })) || signal.aborted) return;
  const takeOver = new Promise((resolve) => {
    show(
      h("h2", {}, "You label this campaign in another tab"),
      h("p", {}, "Go on there, or take over here: its items come with you."),
      h("button", { type: "button", onclick: resolve }, "Take over"),
    );
    signal.addEventListener("abort", resolve);
  });
  await takeOver;
  if (!signal.aborted) await hold({ steal: true });
}

class Work {
  constructor(session, campaign, adjudicate, signal) {
    Object.assign(this, { session, campaign, adjudicate });
    this.api = session.api;
    this.abort = new AbortController();
    signal.addEventListener("abort", () => this.abort.abort());
    this.signal = this.abort.signal;
    this.ahead = [];
    this.current = null;
    this.editor = null;
    this.comment = "";
    this.answered = [];
    this.refused = [];
    this.clock = new Clock();
    this.isTaken = false;
    this.isIdleTold = false;
    this.numAnswered = 0;
    this.stats = {};
    this.wake = () => {};
    this.outbox = new Outbox(this.api, campaign.name, session.name, {
      onChange: (error) => this.drawWaiting(error),
      onRefused: (answer, reason) => this.tellRefused(answer, reason),
    });
    this.panel = h("div", { class: "work" });
  }

  async run() {
    const onKey = (event) => this.onKey(event);
    const onVisible = () => {
      this.clock.run(document.visibilityState === "visible");
      if (document.visibilityState === "visible") this.extend();
    };
    const onLeave = (event) => {
      this.outbox.sendLast();
      if (!this.outbox.isKept && this.outbox.size) event.preventDefault();
    };
    document.addEventListener("keydown", onKey);
    document.addEventListener("visibilitychange", onVisible);
    addEventListener("beforeunload", onLeave);
    const extending = setInterval(() => this.extend(), (1000 * seconds(this.campaign.leaseDuration)) / 3);
    $("nav").replaceChildren(this.progress());
    show(this.panel, this.refusals(), this.help());
    try {
      this.api.watch(this.campaign.name, (seen) => this.onSeen(seen), this.signal);
      this.outbox.flush();
      await this.findAgain();
      await Promise.race([this.keepSupplied(), aborted(this.signal)]);
    } finally {
      clearInterval(extending);
      document.removeEventListener("keydown", onKey);
      document.removeEventListener("visibilitychange", onVisible);
      removeEventListener("beforeunload", onLeave);
      this.editor?.close?.();
      if (!this.isTaken) this.giveBack();
      this.abort.abort();
      $("nav").replaceChildren();
    }
  }

  // Items: leased ahead, extended, found again, given back.

  async findAgain() {
    const waiting = new Set(this.outbox.waiting.map((answer) => answer.result.token));
    let pageToken = "";
    do {
      const page = await this.api.call("ListLeases", { parent: this.campaign.name, pageToken }, { signal: this.signal });
      this.add((page.leases ?? []).filter((lease) => !waiting.has(lease.token)));
      pageToken = page.nextPageToken ?? "";
    } while (pageToken);
  }

  async keepSupplied() {
    while (!this.signal.aborted) {
      if (this.ahead.length > FEW) {
        await new Promise((resolve) => (this.wake = resolve));
        continue;
      }
      const isIdle = !this.current && !this.ahead.length;
      const request = {
        parent: this.campaign.name,
        maxItems: AHEAD - this.ahead.length + 1,
        wait: `${isIdle && this.isIdleTold ? WAIT_S : 0}s`,
        adjudicate: this.adjudicate,
        requestId: requestId(),
      };
      try {
        const { leases = [] } = await this.api.call("LeaseItems", request, { signal: this.signal });
        this.add(leases);
        if (!leases.length) {
          if (isIdle) this.tellIdle("Nothing is left for you now. New items appear here by themselves.");
          this.isIdleTold = isIdle;
          await Promise.race([sleep(isIdle ? 0 : 5000, this.signal), new Promise((wake) => (this.wake = wake))]);
        }
      } catch (error) {
        if (this.signal.aborted) return;
        const isOurs = !(error instanceof Refused || error instanceof Unreachable);
        if (isOurs) throw error;
        if (!this.current) this.tellIdle(error.message);
        if (error.code === "unauthenticated" || error.code === "permission_denied") return;
        await sleep(3000, this.signal);
      }
    }
  }

  add(leases) {
    for (const lease of leases) {
      lease.ready = this.load(lease);
      this.ahead.push(lease);
    }
    if (!this.current) this.next();
  }

  /** The whole item and its picture or sound, fetched before they are shown. */
  async load(lease) {
    const path = `/${lease.item.name}`;
    if (lease.item.numBytes) lease.item = await this.api.get(path, { signal: this.signal });
    if (lease.item.content?.image || lease.item.content?.audio) {
      lease.media = this.api.get(`${path}/media`, { signal: this.signal, as: "blob" });
      lease.media.catch(() => {}); // told where it is shown
    }
  }

  get held() {
    return [this.current, ...this.ahead].filter((lease) => lease && !lease.result);
  }

  async extend() {
    const held = this.held;
    if (!held.length) return;
    const request = {
      parent: this.campaign.name,
      tokens: held.map((lease) => lease.token),
      requestId: requestId(),
    };
    try {
      const { outcomes = [] } = await this.api.call("ExtendLeases", request, { signal: this.signal, attempts: 2 });
      const kept = new Set(outcomes.filter((each) => each.expireTime).map((each) => each.token));
      this.ahead = this.ahead.filter((lease) => lease.result || kept.has(lease.token));
      if (this.current && !this.current.result && !kept.has(this.current.token))
        say("Your lease on this item has ended; your answer may come too late.");
      this.wake();
    } catch {
      // The next turn tries again; a lease that ends meanwhile is told then.
    }
  }

  giveBack() {
    const tokens = this.held.map((lease) => lease.token);
    if (!tokens.length) return;
    const request = { parent: this.campaign.name, tokens, requestId: requestId() };
    this.api.once("ReleaseLeases", request, { keepalive: true }).catch(() => {}); // else they expire
  }

  // Answers.

  next() {
    this.current = this.ahead.shift() ?? null;
    this.comment = "";
    this.draw();
    this.wake();
  }

  answer(decided) {
    const lease = this.current;
    if (!lease) return;
    const result = { token: lease.token, ...decided };
    if (this.comment) result.comment = this.comment;
    if (lease.result) result.replaces = true;
    result.secondsSpent = this.clock.seconds();
    lease.result = result;
    this.answered.push(lease);
    if (this.answered.length > MAX_UNDO) this.answered.shift();
    this.numAnswered += result.replaces ? 0 : 1;
    this.outbox.add(result, nameOf(lease.item));
    say(`${nameOf(lease.item)}: ${inWords(labelOf(result, lease.item), lease.item)}`);
    this.next();
  }

  undo() {
    const last = this.answered.pop();
    if (!last) return say("There is nothing to undo.");
    if (this.current) this.ahead.unshift(this.current);
    this.current = last;
    this.comment = last.result.comment ?? "";
    this.draw();
  }

  tellRefused(answer, reason) {
    this.refused.push(`${answer.about}: not taken, because ${reason}`);
    $("refused")?.replaceChildren(...this.refused.map((line) => h("li", {}, line)));
    say(this.refused.at(-1));
  }

  // Keys.

  onKey(event) {
    if (event.defaultPrevented || !this.current || !this.editor) return;
    const isTyping = event.target.matches?.("input, textarea, select");
    if (isTyping && event.key === "Escape") {
      event.target.blur();
      return event.preventDefault();
    }
    if (event.target.id !== "comment" && event.target.type !== "search" && this.editor.onKey(event))
      return event.preventDefault();
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    const item = this.current.item;
    const act = {
      c: () => this.answer({ decision: "DECISION_CONFIRM" }),
      a: () => item.suggestions?.length && this.answer({ decision: "DECISION_ACCEPT" }),
      p: () => item.preferredLabel && this.answer(decisionFor(item.preferredLabel, item)),
      s: () => this.answer({ decision: "DECISION_SKIP" }),
      e: () => this.answer({ decision: "DECISION_ESCALATE" }),
      m: () => $("comment").focus(),
      u: () => this.undo(),
      "?": () => ($("keys").open = !$("keys").open),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  // What is seen.

  async draw() {
    this.editor?.close?.();
    this.editor = null;
    const lease = this.current;
    if (!lease) return this.tellIdle("Looking for the next item…");
    try {
      await lease.ready;
    } catch (error) {
      if (this.signal.aborted || this.current !== lease) return;
      return this.panel.replaceChildren(
        h("p", { class: "fault", role: "alert" }, `The item cannot be read: ${error.message}`),
        keyButton("s", "skip", () => this.answer({ decision: "DECISION_SKIP" })),
      );
    }
    if (this.current !== lease) return;
    const { item } = lease;
    const editor = await editorFor({
      item,
      classes: this.campaign.classes ?? [],
      media: lease.media ?? null,
      label: lease.result ? labelOf(lease.result, item) : null,
      answer: (label) => this.answer(decisionFor(label, item)),
    });
    if (this.current !== lease) return editor.close?.();
    this.editor = editor;
    this.clock = new Clock();
    this.panel.replaceChildren(
      h(
        "section",
        { class: "item", "aria-label": "The item" },
        h("h2", {}, item.unit ? `${item.unit} · ` : "", nameOf(item)),
        lease.result ? h("p", { class: "note" }, "You correct your answer: ", inWords(labelOf(lease.result, item), item)) : null,
        editor.element,
      ),
      h(
        "section",
        { class: "labels", "aria-label": "Labels" },
        ...this.labels(lease),
        this.commentField(),
        h(
          "div",
          { class: "classes" },
          keyButton("s", "skip", () => this.answer({ decision: "DECISION_SKIP" })),
          keyButton("e", "escalate", () => this.answer({ decision: "DECISION_ESCALATE" })),
          keyButton("u", "undo", () => this.undo(), { disabled: !this.answered.length }),
        ),
      ),
    );
    $("editor-keys").replaceChildren(...keyList(editor.keys));
    this.panel.dataset.item = item.name;
    if (lease.result) say("Correct your answer.");
    else if (!this.numAnswered) say(item.unit ? `Is the label right, as to ${item.unit}?` : "Is the label right?");
  }

  labels({ item, votes = [] }) {
    const cards = [
      card("The human label", inWords(item.humanLabel, item), keyButton("c", "is right", () => this.answer({ decision: "DECISION_CONFIRM" })), "human"),
    ];
    const [first, ...others] = item.suggestions ?? [];
    if (first) {
      const same = isSame(first.label, item.humanLabel, item.unit) ? " (as the human label)" : "";
      cards.push(
        card(
          first.probability ? `The model, ${percent(first.probability)} sure` : "The model",
          inWords(first.label, item) + same,
          keyButton("a", "is right", () => this.answer({ decision: "DECISION_ACCEPT" })),
          "model",
        ),
      );
      if (others.length)
        cards.push(
          h(
            "details",
            {},
            h("summary", {}, "What else the model thinks"),
            h("ul", {}, others.map((each) => h("li", {}, `${inWords(each.label, item)}, ${percent(each.probability ?? 0)}`))),
          ),
        );
    }
    if (item.preferredLabel)
      cards.push(
        card("Thought right by who asked", inWords(item.preferredLabel, item), keyButton("p", "is right", () => this.answer(decisionFor(item.preferredLabel, item))), "preferred"),
      );
    for (const [index, vote] of votes.entries())
      cards.push(this.voteCard(index, vote, item));
    if (item.reason) cards.push(h("p", { class: "reason" }, `Asked because ${item.reason}.`));
    return cards;
  }

  voteCard(index, vote, item) {
    const what = vote.label ? inWords(vote.label, item) : decisionInWords(vote.decision);
    const take = vote.label
      ? h("button", { type: "button", onclick: () => this.answer(decisionFor(vote.label, item)) }, "is right")
      : null;
    return card(`Person ${index + 1}`, vote.comment ? `${what}: ${vote.comment}` : what, take, "vote");
  }

  commentField() {
    return h(
      "p",
      {},
      h("label", { for: "comment" }, kbd("m"), " Comment "),
      h("input", {
        id: "comment",
        maxlength: 10000,
        value: this.comment,
        oninput: (event) => (this.comment = event.target.value),
        onkeydown: (event) => event.key === "Enter" && (event.preventDefault(), event.target.blur()),
      }),
    );
  }

  help() {
    return h(
      "details",
      { id: "keys" },
      h("summary", {}, kbd("?"), " Keys"),
      h("dl", { class: "keys", id: "editor-keys" }),
      h("dl", { class: "keys" }, keyList(KEYS)),
    );
  }

  refusals() {
    return h("ul", { id: "refused", class: "fault", "aria-label": "Answers that were not taken" });
  }

  progress() {
    return h(
      "div",
      { class: "progress" },
      h("a", { href: "#/" }, "All campaigns"),
      h("span", {}, title(this.campaign)),
      h("progress", { id: "progress", max: 1, value: 0, "aria-label": "Items done" }),
      h("span", { id: "counts" }),
      h("span", { id: "waiting", class: "fault" }),
    );
  }

  onSeen({ campaign, stats }) {
    this.campaign = campaign;
    this.stats = stats ?? {};
    this.drawCounts();
    if (campaign.state !== "CAMPAIGN_STATE_ACTIVE" && !this.current) this.tellIdle(stateInWords(campaign.state));
    this.wake();
  }

  drawCounts() {
    const all = Number(this.stats.numItems ?? 0);
    const over = ["numDone", "numSkipped", "numEscalated"].reduce((sum, key) => sum + Number(this.stats[key] ?? 0), 0);
    const bar = $("progress");
    if (!bar) return;
    bar.max = Math.max(all, 1);
    bar.value = over;
    const own = `you answered ${this.numAnswered} here`;
    $("counts").textContent = !all ? own : `${over.toLocaleString()} of ${all.toLocaleString()} over, ${Number(this.stats.numLeased ?? 0)} with people; ${own}`;
  }

  drawWaiting(error) {
    const waiting = $("waiting");
    if (!waiting) return;
    const num = this.outbox.size;
    const isLate = num > 5 || this.outbox.isStuck;
    const kept = this.outbox.isKept ? "kept in this browser" : "NOT kept: leave this tab open";
    waiting.textContent = num && isLate ? `${num} answers wait to be sent, ${kept}${error ? ` (${error.message})` : ""}` : "";
    waiting.dataset.waiting = num;
    this.drawCounts();
  }

  tellIdle(text) {
    this.panel.replaceChildren(h("p", { class: "idle" }, text));
    delete this.panel.dataset.item;
    say(text);
  }
}

/** How long an item has been looked at: time in which the tab was hidden does not count. */
class Clock {
  constructor() {
    this.spentMs = 0;
    this.since = document.visibilityState === "visible" ? performance.now() : null;
  }

  run(isVisible) {
    if (this.since !== null) this.spentMs += performance.now() - this.since;
    this.since = isVisible ? performance.now() : null;
  }

  seconds() {
    this.run(this.since !== null);
    return Math.min(Math.round(this.spentMs) / 1000, 86_400);
  }
}

export function title(campaign) {
  return campaign.name.replace(/^campaigns\//, "");
}

export function stateInWords(state) {
  const words = {
    CAMPAIGN_STATE_ACTIVE: "Items are given out.",
    CAMPAIGN_STATE_PAUSED: "The campaign is paused: no items are given out now.",
    CAMPAIGN_STATE_CLOSED: "The campaign is closed.",
    CAMPAIGN_STATE_FINALIZING: "The campaign is over; its answers are being published.",
    CAMPAIGN_STATE_FINALIZED: "The campaign is over; its answers are published.",
    CAMPAIGN_STATE_IMPORTING: "Items are still being read.",
  };
  return words[state] ?? state;
}

export function seconds(duration) {
  return Number.parseFloat(duration ?? "300s");
}

function decisionInWords(decision) {
  return decision === "DECISION_SKIP" ? "skipped" : "escalated";
}

function card(heading, text, button, kind) {
  return h("div", { class: `card ${kind}` }, h("h3", {}, heading), h("p", { dir: "auto" }, text), button);
}

function keyList(keys) {
  return keys.flatMap(([key, what]) => [h("dt", {}, kbd(key)), h("dd", {}, what)]);
}

function aborted(signal) {
  return new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}
