// Makes the table of the page searchable, filterable, sortable and copyable, and shows times in the reader's zone.
// Without this script the page shows the rows that are already in its table, and times in UTC.
"use strict";

const SLICE = 200;
const SLICE_FOR_PRINT = 2000;

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const { columns, outcomes, rows } = data;

// A row is [outcome, cause, ...cells]; the cell of the column of outcomes is null.
const OUTCOME = 0;
const CAUSE = 1;
const FIRST_CELL = 2;

// ---- Times

const timeFormat = new Intl.DateTimeFormat("en-GB", {
  year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
  timeZoneName: "short",
});

function localTime(date) {
  const part = {};
  for (const { type, value } of timeFormat.formatToParts(date)) part[type] = value;
  return {
    day: `${part.year}-${part.month}-${part.day}`,
    clock: `${part.hour}:${part.minute}:${part.second}`,
    zone: part.timeZoneName,
  };
}

function utcText(date) {
  return `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

function showLocalTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const date = new Date(time.dateTime);
    const local = localTime(date);
    if (date.getTimezoneOffset() === 0) continue;
    time.title = utcText(date);
    if (time.classList.contains("clock")) {
      time.textContent = local.clock;
    } else {
      const utc = document.createElement("small");
      const sameDay = time.title.startsWith(local.day);
      utc.textContent = ` (${sameDay ? time.title.slice(local.day.length + 1) : time.title})`;
      time.textContent = `${local.day} ${local.clock} ${local.zone}`;
      time.append(utc);
    }
  }
}

// ---- Filters and order

const filter = { text: "", outcome: "", cause: "" };
const order = { column: -1, descending: false };
let found = [];
let shown = 0;
let searchTexts = null;

function searchText(index) {
  searchTexts ??= rows.map((row) =>
    columns.map(({ kind }, at) => (kind === "time" ? "" : row[FIRST_CELL + at])).join("\n").toLowerCase());
  return searchTexts[index];
}

function isWanted(row, index, words) {
  const outcome = outcomes[row[OUTCOME]];
  if (filter.outcome === "attention" && !outcome.attention) return false;
  if (filter.outcome !== "" && filter.outcome !== "attention" && filter.outcome !== outcome.name) return false;
  if (filter.cause !== "" && row[CAUSE] !== Number(filter.cause)) return false;
  return words.every((word) => searchText(index).includes(word));
}

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

function compareCells(a, b, kind) {
  const empty = (cell) => cell === null || cell === "";
  if (empty(a) || empty(b)) return empty(a) - empty(b);
  return kind === "number" || kind === "time" ? a - b : collator.compare(a, b);
}

function compareRows(a, b) {
  const { kind } = columns[order.column];
  const difference = kind === "outcome"
    ? rows[a][OUTCOME] - rows[b][OUTCOME]
    : compareCells(rows[a][FIRST_CELL + order.column], rows[b][FIRST_CELL + order.column], kind);
  return (order.descending ? -difference : difference) || a - b;
}

// ---- The table

const body = byId("rows").querySelector("tbody");
const more = byId("more");

function cell(row, column, index) {
  const td = document.createElement("td");
  td.className = column.kind;
  td.dataset.label = column.name;
  const value = row[FIRST_CELL + index];
  if (column.kind === "outcome") {
    const outcome = outcomes[row[OUTCOME]];
    td.classList.add(outcome.name);
    td.textContent = outcome.label;
  } else if (column.kind === "time" && value !== null) {
    const date = new Date(value * 1000);
    const local = localTime(date);
    td.textContent = `${local.day} ${local.clock}`;
    td.title = utcText(date);
  } else {
    td.textContent = value ?? "";
  }
  if (column.kind === "detail" && row[CAUSE] !== null) {
    const link = document.createElement("a");
    link.href = `#cause-${row[CAUSE]}`;
    link.textContent = "cause";
    td.append(" ", link);
  }
  return td;
}

function showMore(count) {
  const fragment = document.createDocumentFragment();
  for (const index of found.slice(shown, shown + count)) {
    const tr = document.createElement("tr");
    tr.append(...columns.map((column, at) => cell(rows[index], column, at)));
    fragment.append(tr);
  }
  body.append(fragment);
  shown = Math.min(shown + count, found.length);
  more.hidden = shown === found.length;
}

function showRows() {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  found = [];
  rows.forEach((row, index) => {
    if (isWanted(row, index, words)) found.push(index);
  });
  if (order.column >= 0) found.sort(compareRows);
  body.replaceChildren();
  shown = 0;
  showMore(SLICE);
  byId("found").textContent =
    `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} listed rows`;
  byId("outcome").value = filter.outcome;
  byId("cause").value = filter.cause;
  byId("copy").disabled = found.length === 0;
  byId("clear").disabled = filter.text === "" && filter.outcome === "" && filter.cause === "";
  const back = byId("back");
  back.hidden = filter.cause === "";
  back.href = `#cause-${filter.cause}`;
}

function setFilter(change) {
  Object.assign(filter, change);
  byId("search").value = filter.text;
  showRows();
}

function sortBy(column) {
  order.descending = order.column === column && !order.descending;
  order.column = column;
  document.querySelectorAll("#rows th").forEach((th, index) => {
    if (index === column) th.ariaSort = order.descending ? "descending" : "ascending";
    else th.removeAttribute("aria-sort");
  });
  showRows();
}

// ---- Copying

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages that are opened from a file may not have the clipboard API.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

async function copyIds() {
  const column = columns.findIndex(({ kind }) => kind === "id");
  const ids = new Set(found.map((index) => rows[index][FIRST_CELL + column].trim()));
  ids.delete("");
  await copy([...ids].join("\n") + "\n");
  byId("copied").textContent = `${ids.size.toLocaleString("en")} ${ids.size === 1 ? "ID" : "IDs"} copied`;
}

// ---- Start

function addButton(parent, text, action) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", () => action(button));
  parent.append(button);
}

function followFilterLink(event) {
  const link = event.target.closest("a[data-cause], a[data-outcome], a[data-search]");
  if (!link) return;
  event.preventDefault();
  const { search = "", outcome = "", cause = "" } = link.dataset;
  setFilter({ text: search, outcome, cause });
  byId("listing").scrollIntoView();
  byId("listing").focus({ preventScroll: true });
}

showLocalTimes();
document.querySelectorAll("#rows th").forEach((th, index) => {
  const name = th.textContent;
  th.textContent = "";
  addButton(th, name, () => sortBy(index));
});
for (const command of document.querySelectorAll(".command")) {
  addButton(command, "Copy", async (button) => {
    await copy(command.querySelector("code").textContent);
    button.textContent = "Copied";
  });
}
byId("search").addEventListener("input", ({ target }) => setFilter({ text: target.value }));
byId("outcome").addEventListener("change", ({ target }) => setFilter({ outcome: target.value }));
byId("cause").addEventListener("change", ({ target }) => setFilter({ cause: target.value }));
byId("clear").addEventListener("click", () => setFilter({ text: "", outcome: "", cause: "" }));
byId("copy").addEventListener("click", copyIds);
more.querySelector("button").addEventListener("click", () => showMore(SLICE));
new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) showMore(SLICE);
}, { rootMargin: "600px" }).observe(more);
addEventListener("beforeprint", () => showMore(SLICE_FOR_PRINT));
document.addEventListener("click", followFilterLink);
byId("tools").hidden = false;
byId("static-note")?.remove();
setFilter({ outcome: rows.some((row) => outcomes[row[OUTCOME]].attention) ? "attention" : "" });
