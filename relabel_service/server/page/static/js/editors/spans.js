// The entities of a sentence: tokens are buttons; a range of them is marked as the item's class.

import { h, keyButton, say } from "../dom.js";
import { ofUnit, spansOf } from "../labels.js";

export function create({ item, classes, label, answer }) {
  const tokens = item.content?.tokens?.tokens ?? [];
  const names = item.unit ? [item.unit] : classes;
  let spans = ofUnit(spansOf(label ?? item.humanLabel), item.unit);
  let className = names[0];
  let cursor = Math.min(spans[0]?.start ?? 0, Math.max(tokens.length - 1, 0));
  let anchor = cursor;

  const others = ofUnitElse(spansOf(item.humanLabel), item.unit);
  const line = h("p", { class: "tokens", role: "listbox", "aria-label": "Tokens", "aria-multiselectable": "true", dir: "auto" });
  const buttons = tokens.map((token, index) =>
    h(
      "span",
      {
        role: "option",
        tabindex: "-1",
        onpointerdown: (event) => {
          event.preventDefault();
          move(index, event.shiftKey);
        },
        onpointerenter: (event) => event.buttons && move(index, true),
      },
      token,
    ),
  );
  line.append(...buttons.flatMap((button) => [button, " "]));

  const selection = () => [Math.min(anchor, cursor), Math.max(anchor, cursor) + 1];
  const spanAt = (index) => spans.find((span) => span.start <= index && index < span.end);

  function move(to, isExtending) {
    cursor = Math.max(0, Math.min(tokens.length - 1, to));
    if (!isExtending) anchor = cursor;
    draw(true);
  }

  function mark() {
    const [start, end] = selection();
    spans = spans.filter((span) => span.end <= start || span.start >= end);
    spans.push({ start, end, className });
    anchor = cursor;
    say(`${className}: ${tokens.slice(start, end).join(" ")}`);
    draw(true);
  }

  function unmark() {
    const [start, end] = selection();
    spans = spans.filter((span) => span.end <= start || span.start >= end);
    anchor = cursor;
    say("No entity here.");
    draw(true);
  }

  function toggle() {
    const [start, end] = selection();
    if (end - start === 1 && spanAt(cursor)) unmark();
    else mark();
  }

  const send = () => {
    const sorted = [...spans].sort((left, right) => left.start - right.start);
    answer({ spans: { spans: sorted } });
  };

  function draw(isFocused) {
    const [start, end] = selection();
    buttons.forEach((button, index) => {
      const span = spanAt(index);
      const other = others.find((each) => each.start <= index && index < each.end);
      button.className = [
        span ? "marked" : "",
        span?.start === index ? "first" : "",
        span && span.end - 1 === index ? "last" : "",
        other && !span ? "other" : "",
        index >= start && index < end ? "selected" : "",
      ].join(" ");
      button.title = span?.className ?? other?.className ?? "";
      button.setAttribute("aria-selected", String(Boolean(span)));
      button.tabIndex = index === cursor ? 0 : -1;
    });
    if (isFocused) buttons[cursor]?.focus();
  }
  draw(false);

  return {
    element: h(
      "div",
      {},
      line,
      names.length > 1
        ? h(
            "label",
            {},
            "Class ",
            h(
              "select",
              { onchange: (event) => (className = event.target.value) },
              names.map((name) => h("option", {}, name)),
            ),
          )
        : h("p", {}, "Marked is every ", h("b", {}, names[0]), others.length ? "; underlined is what others are." : "."),
      h(
        "div",
        { class: "classes" },
        keyButton("Enter", `mark or unmark as ${className}`, toggle),
        keyButton("Delete", "unmark", unmark),
        keyButton("f", "send my marks", send),
      ),
    ),
    keys: [
      ["← →", "move"],
      ["Shift+← →", "take more tokens"],
      ["Home End", "first, last token"],
    ],
    onKey(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return false;
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -10, ArrowDown: 10 };
      if (event.key in steps) move(cursor + steps[event.key], event.shiftKey);
      else if (event.key === "Home") move(0, event.shiftKey);
      else if (event.key === "End") move(tokens.length - 1, event.shiftKey);
      else if (event.key === "Enter" && !isButton(event.target)) toggle();
      else if (event.key === " " && !isButton(event.target)) toggle();
      else if (event.key === "Delete" || event.key === "Backspace") unmark();
      else if (event.key === "f") send();
      else return false;
      return true;
    },
  };
}

function ofUnitElse(parts, unit) {
  return unit ? parts.filter((part) => part.className !== unit) : [];
}

function isButton(target) {
  return target instanceof HTMLButtonElement || target instanceof HTMLSelectElement;
}
