/**
 * A labeling frontend's side of relabel-service: lease, hold, submit.
 *
 *     const client = new Client("http://localhost:8000", { labeler: "ann" });
 *     for (const lease of await client.lease("round-1", { maxItems: 20, waitS: 10 }))
 *       await client.submit("round-1", [confirm(lease)]);
 *
 * Calls speak the Connect protocol, in binary, over HTTP. A call that cannot reach the service is tried
 * again under the same request id, so that one whose response was lost is not done twice. In a browser,
 * give `transport: createConnectTransport({ baseUrl })` of @connectrpc/connect-web.
 */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Duration, DurationSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type Interceptor, type Transport, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { randomUUID } from "node:crypto";

import { RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import type { Campaign, CampaignStats } from "./gen/relabel_service/v1/campaigns_pb.js";
import type { Label } from "./gen/relabel_service/v1/labels_pb.js";
import { Decision, type Lease, type ResultOutcome, ResultSchema } from "./gen/relabel_service/v1/leases_pb.js";
import { RelabelService, type WatchCampaignResponse } from "./gen/relabel_service/v1/relabel_service_pb.js";

export { Decision, ResultStatus } from "./gen/relabel_service/v1/leases_pb.js";
export { type Campaign, CampaignState } from "./gen/relabel_service/v1/campaigns_pb.js";
export type { Lease, ResultOutcome } from "./gen/relabel_service/v1/leases_pb.js";
export type Result = MessageInitShape<typeof ResultSchema>;

const FIRST_WAIT_MS = 100;
const MAX_WAIT_MS = 5_000;

export interface ClientOptions {
  /** Proves who labels. */
  token?: string;
  /** Names who labels, where the service has no keys. */
  labeler?: string;
  /** For whom a frontend answers: with a frontend's token, whose labelers name them. */
  onBehalfOf?: string;
  /** Of one attempt of one call; calls that wait get that time on top. */
  deadlineMs?: number;
  maxAttempts?: number;
  transport?: Transport;
}

export interface LeaseOptions {
  maxItems?: number;
  /** How long a lease lasts; the campaign's own when left out. */
  durationS?: number;
  /** How long to wait for an item when none is free; up to 60. */
  waitS?: number;
  /** Take items whose labelers escalated them or do not agree. */
  adjudicate?: boolean;
}

export class Client {
  readonly #service;
  readonly #deadlineMs: number;
  readonly #maxAttempts: number;

  constructor(baseUrl: string, options: ClientOptions = {}) {
    this.#deadlineMs = options.deadlineMs ?? 30_000;
    this.#maxAttempts = options.maxAttempts ?? 8;
    const identify: Interceptor = (next) => (request) => {
      if (options.token) request.header.set("authorization", `Bearer ${options.token}`);
      else if (options.labeler) request.header.set("relabel-labeler", options.labeler);
      if (options.onBehalfOf) request.header.set("relabel-on-behalf-of", encodeURIComponent(options.onBehalfOf));
      return next(request);
    };
    const transport =
      options.transport ??
      createConnectTransport({ baseUrl, httpVersion: "1.1", interceptors: [identify], useBinaryFormat: true });
    this.#service = createClient(RelabelService, transport);
  }

  /** The campaigns that the caller may see, page by page. */
  async *campaigns(): AsyncGenerator<Campaign> {
    let pageToken = "";
    do {
      const page = await this.#retried((call) => this.#service.listCampaigns({ pageToken }, call));
      yield* page.campaigns;
      pageToken = page.nextPageToken;
    } while (pageToken);
  }

  async campaign(campaign: string): Promise<Campaign> {
    const name = campaignName(campaign);
    return (await this.#retried((call) => this.#service.getCampaign({ name }, call))).campaign!;
  }

  async stats(campaign: string): Promise<CampaignStats> {
    const name = campaignName(campaign);
    return (await this.#retried((call) => this.#service.getCampaignStats({ name }, call))).stats!;
  }

  /** Worst first; empty when nothing is left for this labeler within waitS. */
  async lease(campaign: string, options: LeaseOptions = {}): Promise<Lease[]> {
    const request = {
      parent: campaignName(campaign),
      maxItems: options.maxItems ?? 1,
      leaseDuration: duration(options.durationS),
      wait: duration(options.waitS),
      adjudicate: options.adjudicate ?? false,
      requestId: randomUUID(),
    };
    const extraMs = 1000 * (options.waitS ?? 0);
    return (await this.#retried((call) => this.#service.leaseItems(request, call), extraMs)).leases;
  }

  /** This labeler's leases in force: what a restarted frontend goes on with. */
  async listLeases(campaign: string): Promise<Lease[]> {
    const leases: Lease[] = [];
    let pageToken = "";
    do {
      const request = { parent: campaignName(campaign), pageToken };
      const page = await this.#retried((call) => this.#service.listLeases(request, call));
      leases.push(...page.leases);
      pageToken = page.nextPageToken;
    } while (pageToken);
    return leases;
  }

  /** The tokens whose leases are still in force. */
  async extend(campaign: string, tokens: string[], durationS?: number): Promise<string[]> {
    const request = {
      parent: campaignName(campaign),
      tokens,
      leaseDuration: duration(durationS),
      requestId: randomUUID(),
    };
    const { outcomes } = await this.#retried((call) => this.#service.extendLeases(request, call));
    return outcomes.filter((outcome) => outcome.expireTime).map((outcome) => outcome.token);
  }

  /** How many of the leases were still in force. */
  async release(campaign: string, tokens: string[]): Promise<number> {
    const request = { parent: campaignName(campaign), tokens, requestId: randomUUID() };
    return (await this.#retried((call) => this.#service.releaseLeases(request, call))).numReleased;
  }

  /** What became of each result; ACCEPTED means durable. */
  async submit(campaign: string, results: Result[]): Promise<ResultOutcome[]> {
    const request = { parent: campaignName(campaign), results, requestId: randomUUID() };
    return (await this.#retried((call) => this.#service.submitResults(request, call))).outcomes;
  }

  /**
   * Runs `work` with leases that are extended meanwhile; those that it did not submit are released at its
   * end. `submit` and `release` count: an answered lease cannot be released.
   */
  async hold<T>(campaign: string, options: LeaseOptions, work: (leases: Lease[]) => Promise<T>): Promise<T> {
    const leases = await this.lease(campaign, options);
    let tokens = leases.map((lease) => lease.token);
    const expires = leases.map((lease) => 1000 * Number(lease.expireTime?.seconds ?? 0n));
    const everyMs = Math.max((Math.min(...expires) - Date.now()) / 3, 1000);
    const timer = setInterval(async () => {
      try {
        tokens = await this.extend(campaign, tokens, options.durationS);
      } catch {
        // The next turn tries again; what is lost meanwhile is STALE when it is submitted.
      }
    }, everyMs);
    try {
      return await work(leases);
    } finally {
      clearInterval(timer);
      if (tokens.length) await this.release(campaign, tokens);
    }
  }

  /** The campaign and its counts, now and after each change, until it is finalized. */
  async *watch(campaign: string, signal?: AbortSignal): AsyncGenerator<WatchCampaignResponse> {
    for await (const seen of this.#service.watchCampaign({ name: campaignName(campaign) }, { signal }))
      if (seen.campaign) yield seen; // otherwise a heartbeat
  }

  async #retried<T>(attempt: (call: { timeoutMs: number }) => Promise<T>, extraMs = 0): Promise<T> {
    for (let number = 1, waitMs = FIRST_WAIT_MS; ; number++, waitMs = Math.min(2 * waitMs, MAX_WAIT_MS)) {
      try {
        return await attempt({ timeoutMs: this.#deadlineMs + extraMs });
      } catch (error) {
        const pauseMs = retryAfterMs(ConnectError.from(error), waitMs);
        if (pauseMs === undefined || number >= this.#maxAttempts) throw error;
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
  }
}

/** The human label is right. */
export function confirm(lease: Lease): Result {
  return { token: lease.token, decision: Decision.CONFIRM };
}

/** The first suggestion is right. */
export function accept(lease: Lease): Result {
  return { token: lease.token, decision: Decision.ACCEPT };
}

/** `label` is right. */
export function relabel(lease: Lease, label: Label): Result {
  return { token: lease.token, decision: Decision.RELABEL, label };
}

/** The labeler cannot say. */
export function skip(lease: Lease, comment = ""): Result {
  return { token: lease.token, decision: Decision.SKIP, comment };
}

/** The item needs an adjudicator. */
export function escalate(lease: Lease, comment = ""): Result {
  return { token: lease.token, decision: Decision.ESCALATE, comment };
}

function campaignName(campaign: string): string {
  return campaign.startsWith("campaigns/") ? campaign : `campaigns/${campaign}`;
}

function duration(seconds: number | undefined): Duration | undefined {
  if (seconds === undefined) return undefined;
  const whole = Math.floor(seconds);
  return create(DurationSchema, { seconds: BigInt(whole), nanos: Math.round((seconds - whole) * 1e9) });
}

/** How long to wait before the same call again; undefined where that is of no use. */
function retryAfterMs(error: ConnectError, waitMs: number): number | undefined {
  // Unknown: not the service's word, which always names a code. Ray Serve answers 500 for a replica that ended.
  if (error.code === Code.Unavailable || error.code === Code.Unknown) return waitMs;
  if (error.code !== Code.ResourceExhausted) return undefined;
  const [info] = error.findDetails(RetryInfoSchema);
  const delay = info?.retryDelay;
  return delay && 1000 * Number(delay.seconds) + delay.nanos / 1e6;
}
