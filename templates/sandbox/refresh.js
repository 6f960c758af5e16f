// Keeps the part of a page that is marked as live up to date. Without it the page is only as fresh as its last load.
"use strict";

const PERIOD = 1000;

async function refresh(live, stopped) {
  try {
    const text = await (await fetch(location.href)).text();
    const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("live");
    // Untouched while nothing changed, so that a selection or a focused link survives.
    if (fresh && fresh.innerHTML !== live.innerHTML) live.innerHTML = fresh.innerHTML;
    stopped.hidden = true;
  } catch {
    stopped.hidden = false;
  }
  setTimeout(refresh, PERIOD, live, stopped);
}

const live = document.getElementById("live");
if (live) setTimeout(refresh, PERIOD, live, document.getElementById("stopped"));
