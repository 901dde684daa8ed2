// Elements from code. Text is always a text node: nothing that an item holds is read as markup.

/** An element with attributes, properties that begin with "on", and children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined)
      element.setAttribute(name, String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export function kbd(key) {
  return h("kbd", {}, key);
}

/** A button that says its key. */
export function keyButton(key, label, onclick, attributes = {}) {
  return h("button", { type: "button", onclick, "aria-keyshortcuts": key, ...attributes }, kbd(key), ` ${label}`);
}

export function $(id) {
  return document.getElementById(id);
}

/** Said to whoever cannot see the page, and shown at its foot. */
export function say(text) {
  $("status").textContent = text;
}

export function show(...children) {
  $("main").replaceChildren(...children.flat().filter(Boolean));
}

export function percent(share) {
  return `${Math.round(100 * share)} %`;
}
