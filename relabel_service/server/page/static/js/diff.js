// What words one text has and another has not (longest common subsequence).

const MAX_CELLS = 4_000_000;

/** Parts of `after` in order: [text, "same" | "added" | "removed"]; spaces belong to the words before. */
export function wordDiff(before, after) {
  const [left, right] = [words(before), words(after)];
  if (left.length * right.length > MAX_CELLS) return [[before, "removed"], [after, "added"]];
  const width = right.length + 1;
  const longest = new Uint32Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i--)
    for (let j = right.length - 1; j >= 0; j--)
      longest[i * width + j] =
        left[i].trim() === right[j].trim()
          ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
  const parts = [];
  const add = (text, kind) => {
    const last = parts.at(-1);
    if (last?.[1] === kind) last[0] += text;
    else parts.push([text, kind]);
  };
  let [i, j] = [0, 0];
  while (i < left.length && j < right.length) {
    if (left[i].trim() === right[j].trim()) add(right[j++], "same", i++);
    else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) add(left[i++], "removed");
    else add(right[j++], "added");
  }
  while (i < left.length) add(left[i++], "removed");
  while (j < right.length) add(right[j++], "added");
  return parts;
}

function words(text) {
  return text.match(/\S+\s*|^\s+/g) ?? [];
}
