// The boxes on a picture. Annotorious draws and drags them; every step has a key, too. Coordinates are
// pixels of the upright picture, which is what the browser shows of it.

import "/vendor/process.js";
import { createImageAnnotator } from "/vendor/annotorious.es.js";
import { pictureView } from "../content.js";
import { h, keyButton, say } from "../dom.js";
import { boxesOf, ofUnit } from "../labels.js";

const SVG = "http://www.w3.org/2000/svg";
const ZOOM = 1.25;

export function create({ item, classes, media, label, answer }) {
  const names = item.unit ? [item.unit] : classes;
  let className = names[0];
  const picture = pictureView(media);
  const shown = h("ul", { class: "boxes", "aria-label": "Boxes" });
  const frame = h("div", {}, picture.element);
  let annotator = null;
  let image = null;
  let zoom = 1;
  let selected = 0;
  let numNew = 0;

  picture.ready.then((loaded) => {
    if (!loaded || !loaded.isConnected) return;
    image = loaded;
    annotator = createImageAnnotator(image, { drawingEnabled: true, theme: "light" });
    ofUnit(boxesOf(label ?? item.humanLabel), item.unit).forEach(add);
    overlay(picture.element.firstChild, item, image);
    annotator.on("createAnnotation", (made) => {
      made.properties = { className };
      annotator.updateAnnotation(withClass(made, className));
      list();
    });
    for (const event of ["updateAnnotation", "deleteAnnotation"]) annotator.on(event, list);
    annotator.on("selectionChanged", (chosen) => {
      const index = all().findIndex((each) => each.id === chosen[0]?.id);
      if (index >= 0) selected = index;
      list();
    });
    list();
  });

  const all = () => annotator?.getAnnotations() ?? [];

  function add(box) {
    const id = `box-${numNew++}`;
    annotator.addAnnotation(annotation(id, box));
    return id;
  }

  function list() {
    const boxes = all().map(boxOf);
    selected = Math.max(0, Math.min(selected, boxes.length - 1));
    shown.replaceChildren(
      ...boxes.map((box, index) =>
        h(
          "li",
          { "aria-current": index === selected ? "true" : false },
          h("button", { type: "button", onclick: () => choose(index) }, words(box)),
        ),
      ),
    );
    if (!boxes.length) shown.append(h("li", {}, "no box"));
  }

  function choose(index) {
    const boxes = all();
    if (!boxes.length) return;
    selected = (index + boxes.length) % boxes.length;
    annotator.setSelected(boxes[selected].id);
    say(words(boxOf(boxes[selected])));
    list();
  }

  function change(edit) {
    const chosen = all()[selected];
    if (!chosen) return;
    const box = boxOf(chosen);
    edit(box);
    const width = image.naturalWidth;
    const height = image.naturalHeight;
    box.xMin = clamp(box.xMin, 0, width - 1);
    box.yMin = clamp(box.yMin, 0, height - 1);
    box.xMax = clamp(box.xMax, box.xMin + 1, width);
    box.yMax = clamp(box.yMax, box.yMin + 1, height);
    annotator.updateAnnotation(annotation(chosen.id, box));
    annotator.setSelected(chosen.id);
    say(words(box));
    list();
  }

  function addInTheMiddle() {
    if (!image) return;
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    const box = { xMin: 0.4 * width, yMin: 0.4 * height, xMax: 0.6 * width, yMax: 0.6 * height, className };
    for (const side of ["xMin", "yMin", "xMax", "yMax"]) box[side] = Math.round(box[side]);
    const id = add(box);
    choose(all().findIndex((each) => each.id === id));
  }

  function remove() {
    const chosen = all()[selected];
    if (!chosen) return;
    annotator.removeAnnotation(chosen.id);
    say("Box removed.");
    list();
  }

  function zoomTo(factor) {
    zoom = clamp(factor, 0.25, 16);
    frame.style.setProperty("--zoom", zoom);
  }

  const send = () => annotator && answer({ boxes: { boxes: all().map(boxOf) } });

  function boxOf(each) {
    const { x, y, w, h: height } = each.target.selector.geometry;
    return { xMin: x, yMin: y, xMax: x + w, yMax: y + height, className: each.properties?.className ?? className };
  }

  return {
    element: h(
      "div",
      {},
      frame,
      h("p", { class: "legend" }, h("span", { class: "mine" }, "drawn: yours"), " ", legend(item)),
      names.length > 1
        ? h("label", {}, "Class of new boxes ", h(
            "select",
            { onchange: (event) => (className = event.target.value) },
            names.map((name) => h("option", {}, name)),
          ))
        : null,
      shown,
      h(
        "div",
        { class: "classes" },
        keyButton("n", `new ${className}`, addInTheMiddle),
        keyButton("Delete", "remove", remove),
        keyButton("+", "larger", () => zoomTo(zoom * ZOOM)),
        keyButton("-", "smaller", () => zoomTo(zoom / ZOOM)),
        keyButton("f", "send my boxes", send),
      ),
    ),
    keys: [
      ["[ ]", "box before, next box"],
      ["arrows", "move the box by a pixel; with Shift by ten"],
      ["Alt+arrows", "move its right and lower edge"],
    ],
    onKey(event) {
      if (event.ctrlKey || event.metaKey) return false;
      const step = event.shiftKey ? 10 : 1;
      const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
      if (event.key in moves) {
        const [x, y] = moves[event.key];
        change((box) => {
          if (!event.altKey) [box.xMin, box.yMin] = [box.xMin + x, box.yMin + y];
          [box.xMax, box.yMax] = [box.xMax + x, box.yMax + y];
        });
      } else if (event.key === "n") addInTheMiddle();
      else if (event.key === "[") choose(selected - 1);
      else if (event.key === "]") choose(selected + 1);
      else if (event.key === "Delete" || event.key === "Backspace") remove();
      else if (event.key === "+" || event.key === "=") zoomTo(zoom * ZOOM);
      else if (event.key === "-") zoomTo(zoom / ZOOM);
      else if (event.key === "f") send();
      else return false;
      return true;
    },
    close: () => annotator?.destroy(),
  };
}

function annotation(id, box) {
  const geometry = {
    x: box.xMin,
    y: box.yMin,
    w: box.xMax - box.xMin,
    h: box.yMax - box.yMin,
    bounds: { minX: box.xMin, minY: box.yMin, maxX: box.xMax, maxY: box.yMax },
  };
  return {
    id,
    bodies: [],
    properties: { className: box.className },
    target: { annotation: id, selector: { type: "RECTANGLE", geometry } },
  };
}

function withClass(each, className) {
  return { ...each, properties: { className } };
}

/** The human label and the model's boxes, under what is drawn: lines that cannot be dragged. */
function overlay(container, item, image) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${image.naturalWidth} ${image.naturalHeight}`);
  svg.setAttribute("class", "overlay");
  svg.setAttribute("aria-hidden", "true");
  const draw = (label, kind) => {
    for (const box of boxesOf(label)) {
      const rect = document.createElementNS(SVG, "rect");
      rect.setAttribute("x", box.xMin);
      rect.setAttribute("y", box.yMin);
      rect.setAttribute("width", Math.max(box.xMax - box.xMin, 0));
      rect.setAttribute("height", Math.max(box.yMax - box.yMin, 0));
      rect.setAttribute("class", !item.unit || box.className === item.unit ? kind : "others");
      svg.append(rect);
    }
  };
  draw(item.humanLabel, "human");
  if (item.suggestions?.length) draw(item.suggestions[0].label, "model");
  container.append(svg);
}

function legend(item) {
  return [
    h("span", { class: "human" }, "human label"),
    " ",
    item.suggestions?.length ? h("span", { class: "model" }, "the model") : null,
  ].filter(Boolean).map((each) => each);
}

function words(box) {
  return `${box.className}: ${[box.xMin, box.yMin, box.xMax, box.yMax].map(Math.round).join(", ")}`;
}

function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}
