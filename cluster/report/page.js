"use strict";
// Filters the items, a page of them at a time. Reads no item content as markup.
const STEP = 50;
const form = document.querySelector("form.filters");
const items = [...document.querySelectorAll(".items > li")];
const status = document.querySelector("#status");
const more = document.querySelector(".more");
let limit = STEP;

function matches(item) {
  for (const select of form.querySelectorAll("select")) {
    const has = (item.getAttribute("data-" + select.name) || "").split(" ");
    if (select.value && !has.includes(select.value)) return false;
  }
  const typed = form.elements.words.value.trim().toLowerCase();
  return !typed || item.textContent.toLowerCase().includes(typed);
}

function show() {
  let found = 0;
  for (const item of items) {
    const fits = matches(item);
    item.hidden = !fits || found >= limit;
    if (fits) found += 1;
  }
  const shown = Math.min(found, limit);
  status.textContent = `${shown} of ${found} items shown` +
    (found < items.length ? ` (${items.length} without filters)` : "");
  more.hidden = found <= limit;
}

function restart() {
  limit = STEP;
  show();
}

if (form) {
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", restart);
  form.addEventListener("reset", () => setTimeout(restart));
  more.addEventListener("click", () => {
    const first = items.filter((item) => !item.hidden).length;
    limit += STEP;
    show();
    const next = items.filter((item) => !item.hidden)[first];
    if (next) next.focus();
  });
  for (const button of document.querySelectorAll("button[data-pair]")) {
    button.addEventListener("click", () => {
      form.reset();
      form.elements.pair.value = button.getAttribute("data-pair");
      restart();
      document.querySelector("#items").scrollIntoView();
      document.querySelector("#items").focus();
    });
  }
  show();
}
