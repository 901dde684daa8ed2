// One editor for each kind of label: a file of this folder, loaded when it is first needed.
//
// An editor is made of {item, classes, media, label, answer}. label: where to start; answer(label): send
// that. It gives {element, keys, onKey}: what is shown, the keys it takes as pairs of key and meaning, and
// a function that takes a key press and says whether it used it.

import { kindOf } from "../labels.js";

const EDITORS = {
  classLabel: () => import("./classes.js"),
  spans: () => import("./spans.js"),
  boxes: () => import("./boxes.js"),
  sequence: () => import("./sequence.js"),
  click: () => import("./click.js"),
};

export async function editorFor(context) {
  const kind = kindOf(context.item.humanLabel);
  const module = await (EDITORS[kind] ?? EDITORS.classLabel)();
  return module.create(context);
}
