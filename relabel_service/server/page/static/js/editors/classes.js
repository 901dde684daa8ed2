// One class of several: each has a key, and pressing it answers. Many classes are searched by typing.

import { h, keyButton } from "../dom.js";
import { contentView } from "../content.js";

const RESERVED = new Set("acepsumq?/".split(""));
const KEYS = [..."123456789", ..."bdfghijklnortvwxyz"].filter((key) => !RESERVED.has(key));
const MAX_BUTTONS = 60;

export function create({ item, classes, media, answer }) {
  const keyOf = new Map(classes.map((name, index) => [name, KEYS[index]]));
  const nameOf = new Map([...keyOf].filter(([, key]) => key).map(([name, key]) => [key, name]));
  const choose = (className) => answer({ classLabel: { className } });
  const human = item.humanLabel?.classLabel?.className;

  const buttons = h("div", { class: "classes", role: "group", "aria-label": "Classes" });
  const list = (wanted) => {
    const needle = wanted.toLowerCase();
    const found = classes.filter((name) => name.toLowerCase().includes(needle));
    buttons.replaceChildren(
      ...found.slice(0, MAX_BUTTONS).map((name) => {
        const attributes = { class: name === human ? "human" : "" };
        const key = keyOf.get(name);
        return key
          ? keyButton(key, name, () => choose(name), attributes)
          : h("button", { type: "button", onclick: () => choose(name), ...attributes }, name);
      }),
    );
    if (found.length > MAX_BUTTONS) buttons.append(h("p", {}, `and ${found.length - MAX_BUTTONS} more: type to find`));
    return found;
  };
  list("");

  let search = null;
  if (classes.length > KEYS.length || classes.length > 12) {
    search = h("input", {
      type: "search",
      "aria-label": "Find a class",
      placeholder: "/ finds a class, Enter takes the first",
      oninput: () => list(search.value),
      onkeydown: (event) => {
        if (event.key === "Enter") {
          event.preventDefault();
          const [first] = list(search.value);
          if (first !== undefined) choose(first);
        }
      },
    });
  }
  return {
    element: h("div", {}, contentView(item, media), search, buttons),
    keys: search ? [["/", "find a class"]] : [],
    onKey(event) {
      if (event.key === "/" && search) {
        search.focus();
        return true;
      }
      const name = nameOf.get(event.key);
      if (name === undefined) return false;
      choose(name);
      return true;
    },
  };
}
