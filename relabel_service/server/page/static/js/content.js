// What is to be labelled, as a person sees or hears it.

import { h } from "./dom.js";

const SHOWN = 20_000; // characters; more at a key press, so that a huge text does not stop the page

/** An element of an item's content. media: a promise of the picture or sound as a Blob, or null. */
export function contentView(item, media) {
  const content = item.content ?? {};
  if (content.text) return textView(content.text.text ?? "");
  if (content.fields) return fieldsView(content.fields.fields ?? {});
  if (content.tokens) return textView((content.tokens.tokens ?? []).join(" "));
  if (content.audio) return soundView(media);
  if (content.image) return pictureView(media).element;
  return h("p", { class: "fault" }, "This item shows nothing.");
}

function textView(text) {
  const shown = h("p", { class: "text", dir: "auto", tabindex: 0 }, text.slice(0, SHOWN));
  if (text.length <= SHOWN) return shown;
  const more = h(
    "button",
    {
      type: "button",
      onclick: () => {
        const from = shown.textContent.length;
        shown.append(text.slice(from, from + 20 * SHOWN));
        if (shown.textContent.length >= text.length) more.remove();
      },
    },
    `Show more of ${text.length.toLocaleString()} characters`,
  );
  return h("div", {}, shown, more);
}

/** Several columns, each under its name. */
function fieldsView(fields) {
  return h(
    "dl",
    { class: "fields" },
    Object.keys(fields)
      .sort()
      .flatMap((name) => [h("dt", {}, name), h("dd", { dir: "auto" }, fields[name])]),
  );
}

/** `ready` gives the <img> when it is shown, or null when it cannot be. */
export function pictureView(media) {
  const frame = h("div", { class: "picture", role: "region", "aria-label": "Picture", tabindex: 0 }, h("p", {}, "Loading the picture…"));
  const ready = (async () => {
    try {
      const url = URL.createObjectURL(await media);
      const image = h("img", { alt: "The picture to label", src: url });
      await image.decode();
      URL.revokeObjectURL(url);
      frame.replaceChildren(image);
      return image;
    } catch (error) {
      frame.replaceChildren(fault("The picture cannot be shown", error));
      return null;
    }
  })();
  return { element: frame, ready };
}

function soundView(media) {
  const frame = h("div", { class: "sound" }, h("p", {}, "Loading the sound…"));
  (async () => {
    try {
      const url = URL.createObjectURL(await media);
      const player = h("audio", { controls: true, src: url, preload: "auto", "aria-label": "The sound to label" });
      player.addEventListener("error", () => frame.replaceChildren(fault("The sound cannot be played", player.error)));
      frame.replaceChildren(player);
    } catch (error) {
      frame.replaceChildren(fault("The sound cannot be played", error));
    }
  })();
  return frame;
}

function fault(what, error) {
  const reason = error?.message ? `: ${error.message}` : "";
  return h("p", { class: "fault", role: "alert" }, `${what}${reason}. Skip the item, or escalate it.`);
}
