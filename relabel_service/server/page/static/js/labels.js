// Labels as the contract's JSON has them: read, compared, and shown in words.

/** The payload's name: classLabel, spans, boxes, sequence or click. */
export function kindOf(label) {
  return ["classLabel", "spans", "boxes", "sequence", "click"].find((kind) => label?.[kind]) ?? "";
}

export function spansOf(label) {
  return (label?.spans?.spans ?? []).map(({ start = 0, end = 0, className }) => ({ start, end, className }));
}

export function boxesOf(label) {
  return (label?.boxes?.boxes ?? []).map(({ xMin = 0, yMin = 0, xMax = 0, yMax = 0, className }) => ({
    xMin,
    yMin,
    xMax,
    yMax,
    className,
  }));
}

/** The parts that an item with a unit asks about, or all of them. */
export function ofUnit(parts, unit) {
  return unit ? parts.filter((part) => part.className === unit) : parts;
}

/** Whether two labels say the same of the item's unit, in whatever order their parts stand. */
export function isSame(left, right, unit) {
  return key(left, unit) === key(right, unit);
}

function key(label, unit) {
  switch (kindOf(label)) {
    case "classLabel":
      return label.classLabel.className ?? "";
    case "spans":
      return JSON.stringify(ofUnit(spansOf(label), unit).map((span) => [span.start, span.end, span.className]).sort());
    case "boxes":
      return JSON.stringify(
        ofUnit(boxesOf(label), unit).map((box) => [box.xMin, box.yMin, box.xMax, box.yMax, box.className]).sort(),
      );
    case "sequence":
      return label.sequence.text ?? "";
    case "click":
      return String(label.click.clicked ?? false);
    default:
      return "";
  }
}

/** The decision that a label comes to: whether it is the human one, the model's, or another. */
export function decisionFor(label, item) {
  if (isSame(label, item.humanLabel, item.unit)) return { decision: "DECISION_CONFIRM" };
  const [first] = item.suggestions ?? [];
  if (first && isSame(label, first.label, item.unit)) return { decision: "DECISION_ACCEPT" };
  return { decision: "DECISION_RELABEL", label };
}

/** The label that a result stands for; null for skips and escalations. */
export function labelOf(result, item) {
  if (result.decision === "DECISION_CONFIRM") return item.humanLabel;
  if (result.decision === "DECISION_ACCEPT") return item.suggestions?.[0]?.label ?? null;
  return result.label ?? null;
}

export function inWords(label, item) {
  switch (kindOf(label)) {
    case "classLabel":
      return label.classLabel.className ?? "";
    case "spans": {
      const tokens = item.content?.tokens?.tokens ?? [];
      const shown = ofUnit(spansOf(label), item.unit).map(
        (span) => `${span.className}: ${tokens.slice(span.start, span.end).join(" ")}`,
      );
      return shown.join("; ") || "no entity";
    }
    case "boxes": {
      const shown = ofUnit(boxesOf(label), item.unit).map(
        (box) => `${box.className} (${[box.xMin, box.yMin, box.xMax, box.yMax].map(Math.round).join(", ")})`,
      );
      return shown.join("; ") || "no box";
    }
    case "sequence":
      return label.sequence.text ?? "";
    case "click":
      return label.click.clicked ? "clicked" : "not clicked";
    default:
      return "no label";
  }
}
