// The page: who labels, which campaign, and then labeling, adjudicating or running it. The address says
// which: #/campaigns/demo, #/campaigns/demo/adjudicate, #/campaigns/demo/admin.

import { administer } from "./admin.js";
import { Refused } from "./api.js";
import { h, say, show } from "./dom.js";
import { forget, signIn } from "./session.js";
import { label, stateInWords, title } from "./work.js";

let leaving = new AbortController();
let session = null;

async function route() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  try {
    session ??= await signIn();
    const [, name, mode] = /^#\/(campaigns\/[a-z0-9-]+)(?:\/(adjudicate|admin))?$/.exec(location.hash) ?? [];
    if (!name) return await list();
    const { campaign } = await session.api.call("GetCampaign", { name });
    if (signal.aborted) return;
    if (mode === "admin") await administer(session, campaign, { signal });
    else await label(session, campaign, { adjudicate: mode === "adjudicate", signal });
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Refused && error.code === "unauthenticated") {
      forget();
      session = await signIn(`You were signed out: ${error.message}`);
      return route();
    }
    show(
      h("h2", {}, "That did not work"),
      h("p", { class: "fault", role: "alert" }, error.message),
      h("button", { type: "button", onclick: route }, "Try again"),
      h("p", {}, h("a", { href: "#/" }, "All campaigns")),
    );
    if (!(error instanceof Refused)) console.error(error);
  }
}

async function list() {
  const campaigns = [];
  let pageToken = "";
  do {
    const page = await session.api.call("ListCampaigns", { pageSize: 200, pageToken });
    campaigns.push(...(page.campaigns ?? []));
    pageToken = page.nextPageToken ?? "";
  } while (pageToken);
  show(
    h("h2", {}, "Campaigns"),
    campaigns.length ? h("ul", { class: "campaigns" }, campaigns.map(entry)) : h("p", {}, "There is no campaign that you may see yet."),
  );
  say(`${campaigns.length} campaigns`);
}

function entry(campaign) {
  const about = `${kindInWords(campaign.taskKind)}, ${Number(campaign.numItems ?? 0).toLocaleString()} items. ${stateInWords(campaign.state)}`;
  const { roles } = session;
  return h(
    "li",
    {},
    roles.includes("labeler") || roles.includes("adjudicator")
      ? h("a", { href: `#/${campaign.name}` }, title(campaign))
      : h("span", {}, title(campaign)),
    ` ${about} `,
    roles.includes("adjudicator") ? h("a", { href: `#/${campaign.name}/adjudicate` }, "adjudicate") : null,
    " ",
    roles.includes("admin") ? h("a", { href: `#/${campaign.name}/admin` }, "run it") : null,
  );
}

function kindInWords(kind) {
  return (kind ?? "").replace("TASK_KIND_", "").replaceAll("_", " ").toLowerCase();
}

addEventListener("hashchange", route);
route();
