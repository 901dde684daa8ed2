// Whoever runs the campaign: how far it is, how far to believe it, and its few switches.

import { Refused, requestId } from "./api.js";
import { $, h, percent, say, show } from "./dom.js";
import { stateInWords, title } from "./work.js";

const SVG = "http://www.w3.org/2000/svg";
const MAX_POINTS = 600;

export async function administer(session, campaign, { signal }) {
  const points = [];
  const view = h("div", {});
  show(h("p", {}, h("a", { href: "#/" }, "All campaigns")), h("h2", {}, title(campaign)), view, switches(session, campaign));
  await session.api.watch(
    campaign.name,
    (seen) => {
      const stats = seen.stats ?? {};
      points.push([Date.now(), Number(stats.numDone ?? 0)]);
      if (points.length > MAX_POINTS) points.shift();
      view.replaceChildren(...summary(seen.campaign, stats), plot(points, Number(stats.numItems ?? 0)));
      setEnabled(seen.campaign.state);
    },
    signal,
  );
}

function summary(campaign, stats) {
  const count = (key) => Number(stats[key] ?? 0).toLocaleString();
  const rows = [
    ["State", stateInWords(campaign.state)],
    ["Items", count("numItems")],
    ["Open", count("numOpen")],
    ["With people", count("numLeased")],
    ["Done", count("numDone")],
    ["Skipped", count("numSkipped")],
    ["For an adjudicator", count("numEscalated")],
    ["Answers", `${count("numResults")}, of which ${count("numChanged")} change the human label`],
    ["Agree with the model, shown", share(stats.agreeShown)],
    ["Agree with the model, blind", share(stats.agreeBlind)],
    ["Anchoring: how far the model pulls", estimate(stats.anchoring, percent)],
    ["Wrong among audit items", share(stats.auditErrors)],
    ["Errors left in the table", estimate(stats.errorsLeft, (value) => Math.round(value).toLocaleString())],
    ["Recall: errors found, of all", estimate(stats.recall, percent)],
  ];
  return [
    h("table", {}, h("caption", {}, "The campaign now"), h("tbody", {}, rows.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value))))),
    campaign.failure ? h("p", { class: "fault", role: "alert" }, campaign.failure.message) : null,
    labelers(stats.labelers ?? []),
  ].filter(Boolean);
}

function labelers(rows) {
  if (!rows.length) return null;
  const head = ["Labeler", "Answers", "Right on gold", "Agrees with others"];
  return h(
    "table",
    {},
    h("caption", {}, "Labelers"),
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
    h(
      "tbody",
      {},
      rows.map((row) =>
        h("tr", {}, h("th", { scope: "row" }, row.labeler), h("td", {}, String(row.numResults ?? 0)), h("td", {}, share(row.goldRight)), h("td", {}, share(row.agreeOthers))),
      ),
    ),
  );
}

function share(value) {
  const total = Number(value?.total ?? 0);
  if (!total) return "no answers yet";
  const num = Number(value.num ?? 0);
  return `${percent(num / total)} (${percent(value.low ?? 0)} to ${percent(value.high ?? 0)}; ${num} of ${total})`;
}

function estimate(value, shown) {
  if (!value) return "not known yet";
  return `${shown(value.value ?? 0)} (${shown(value.low ?? 0)} to ${shown(value.high ?? 0)})`;
}

/** Items done since this page was opened. */
function plot(points, numItems) {
  const [width, height] = [600, 120];
  const [start] = points[0];
  const span = Math.max(points.at(-1)[0] - start, 1);
  const most = Math.max(numItems, 1);
  const line = points.map(([time, done]) => `${(width * (time - start)) / span},${height - (height * done) / most}`).join(" ");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("class", "plot");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Items done since this page was opened: ${points.at(-1)[1]} of ${numItems}`);
  const polyline = document.createElementNS(SVG, "polyline");
  polyline.setAttribute("points", line);
  svg.append(polyline);
  return h("figure", {}, svg, h("figcaption", {}, "Items done since this page was opened"));
}

function switches(session, campaign) {
  const act = async (method, request) => {
    try {
      await session.api.call(method, { name: campaign.name, requestId: requestId(), ...request });
      say(`${method} is done.`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      say(error.message);
    }
  };
  const results = h("input", { id: "results", required: true, placeholder: "data/results", value: campaign.resultsUri ?? "" });
  const finalize = h(
    "form",
    { onsubmit: (event) => (event.preventDefault(), act("FinalizeCampaign", { resultsUri: results.value })) },
    h("label", { for: "results" }, "Close the campaign and publish its answers to this Delta table, as the service sees it"),
    results,
    h("button", { type: "submit", id: "finalize" }, "Finalize"),
  );
  return h(
    "section",
    { "aria-label": "Switches" },
    h("button", { type: "button", id: "pause", onclick: () => act("PauseCampaign") }, "Pause"),
    h("button", { type: "button", id: "resume", onclick: () => act("ResumeCampaign") }, "Resume"),
    finalize,
  );
}

function setEnabled(state) {
  $("pause").disabled = state !== "CAMPAIGN_STATE_ACTIVE";
  $("resume").disabled = state !== "CAMPAIGN_STATE_PAUSED";
  $("finalize").disabled = ["CAMPAIGN_STATE_IMPORTING", "CAMPAIGN_STATE_FINALIZED"].includes(state);
}
