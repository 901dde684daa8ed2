/**
 * A labeler for the terminal, in sixty lines of Node:
 *
 *     npm install && npm run build
 *     node dist/examples/labeler.js http://localhost:8000 round-1 ann
 *
 * RELABEL_TOKEN proves who labels; where the service has no keys, the third argument names them.
 */

import { createInterface } from "node:readline/promises";

import { ResultStatus, accept, Client, confirm, escalate, type Lease, type Result, skip } from "../src/client.js";

const [address, campaign, labeler] = process.argv.slice(2);
if (!address || !campaign) {
  console.error("usage: labeler ADDRESS CAMPAIGN [NAME]");
  process.exit(2);
}
const client = new Client(address, { token: process.env.RELABEL_TOKEN, labeler });
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const DECISIONS: Record<string, (lease: Lease) => Result> = { c: confirm, a: accept, s: skip, e: escalate };

async function ask({ item }: Lease): Promise<string> {
  const content = item?.content?.payload;
  const shown = content?.case === "text" ? content.value.text : JSON.stringify(content?.value);
  const [suggestion] = item?.suggestions ?? [];
  console.log(`\n${item?.rowId}: ${shown}`);
  console.log(`human label: ${JSON.stringify(item?.humanLabel?.payload.value)}`);
  if (suggestion) console.log(`model: ${JSON.stringify(suggestion.label?.payload.value)}`);
  console.log("c confirm, a accept, s skip, e escalate, q quit");
  const { value, done } = await lines.next();
  return done ? "q" : value.trim();
}

let numAccepted = 0;
for (let goesOn = true; goesOn; ) {
  goesOn = await client.hold(campaign, { maxItems: 5 }, async (leases) => {
    for (const lease of leases) {
      let key = await ask(lease);
      while (key !== "q" && !DECISIONS[key]) key = await ask(lease);
      if (key === "q") return false;
      const [outcome] = await client.submit(campaign, [DECISIONS[key](lease)]);
      if (outcome.status === ResultStatus.ACCEPTED) numAccepted++;
      else console.log(`not taken: ${ResultStatus[outcome.status]}`);
    }
    return leases.length > 0;
  });
}
console.log(`${numAccepted} answers are kept`);
process.exit(0);
