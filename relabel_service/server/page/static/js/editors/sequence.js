// A text: edited, with what it changes of the human label and of the model's text.

import { h, keyButton } from "../dom.js";
import { contentView } from "../content.js";
import { wordDiff } from "../diff.js";

export function create({ item, media, label, answer }) {
  const human = item.humanLabel?.sequence?.text ?? "";
  const suggested = item.suggestions?.[0]?.label?.sequence?.text;
  const area = h("textarea", { id: "text", rows: 4, dir: "auto", oninput: () => compare() });
  area.value = label?.sequence?.text ?? human;
  const toHuman = h("p", { class: "diff", dir: "auto" });
  const toModel = h("p", { class: "diff", dir: "auto" });
  const compare = () => {
    toHuman.replaceChildren("To the human label: ", ...marked(human, area.value));
    if (suggested !== undefined) toModel.replaceChildren("To the model's text: ", ...marked(suggested, area.value));
  };
  const send = () => area.value.trim() && answer({ sequence: { text: area.value } });
  const take = (text) => {
    area.value = text;
    compare();
    area.focus();
  };
  compare();
  return {
    element: h(
      "div",
      {},
      contentView(item, media),
      h("label", { for: "text" }, "The right text"),
      area,
      toHuman,
      suggested === undefined ? null : toModel,
      h(
        "div",
        { class: "classes" },
        keyButton("i", "edit", () => area.focus()),
        suggested === undefined ? null : keyButton("t", "take the model's text to edit", () => take(suggested)),
        keyButton("h", "take the human label to edit", () => take(human)),
        keyButton("f", "send my text", send),
      ),
    ),
    keys: [["Ctrl+Enter", "send from within the text"], ["Esc", "leave the text"]],
    onKey(event) {
      const isTyping = event.target === area;
      if (isTyping && event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
      else if (isTyping && event.key === "Escape") area.blur();
      else if (isTyping) return false;
      else if (event.key === "i") area.focus();
      else if (event.key === "t" && suggested !== undefined) take(suggested);
      else if (event.key === "h") take(human);
      else if (event.key === "f") send();
      else return false;
      return true;
    },
  };
}

function marked(before, after) {
  return wordDiff(before, after).map(([text, kind]) =>
    kind === "same" ? text : h(kind === "added" ? "ins" : "del", {}, text),
  );
}
