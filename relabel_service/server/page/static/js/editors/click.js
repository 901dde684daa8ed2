// Whether there was a click.

import { h, keyButton } from "../dom.js";
import { contentView } from "../content.js";

export function create({ item, media, answer }) {
  const say = (clicked) => answer({ click: { clicked } });
  return {
    element: h(
      "div",
      {},
      contentView(item, media),
      h(
        "div",
        { class: "classes", role: "group", "aria-label": "Was it clicked?" },
        keyButton("y", "clicked", () => say(true)),
        keyButton("n", "not clicked", () => say(false)),
      ),
    ),
    keys: [],
    onKey(event) {
      if (event.key !== "y" && event.key !== "n") return false;
      say(event.key === "y");
      return true;
    },
  };
}
