// Renews the page's live part by asking for its fragment, and keeps relative times current. No part of it writes HTML
// of its own: fragments come escaped from the server.
"use strict";

const state = document.querySelector(".live-state");

function span(ms) {
  const s = Math.max(ms, 0) / 1000;
  if (s < 60) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.floor(s % 60)).padStart(2, "0")} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d`;
}

function ago(ms) {
  const s = Math.max(ms, 0) / 1000;
  if (s < 5) return "just now";
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} d ago`;
}

function tick() {
  const now = Date.now();
  for (const node of document.querySelectorAll("time.ago, time.since")) {
    const then = Date.parse(node.dateTime);
    if (!node.title) node.title = new Date(then).toString();
    const text = node.classList.contains("ago") ? ago(now - then) : span(now - then);
    if (node.textContent !== text) node.textContent = text;
  }
}

function replace(part, html) {
  const open = new Map([...part.querySelectorAll("details[id]")].map((node) => [node.id, node.open]));
  const log = part.querySelector(".log");
  const atEnd = log && log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  const top = log ? log.scrollTop : 0;
  part.innerHTML = html;
  for (const [id, isOpen] of open) {
    const node = document.getElementById(id);
    if (node) node.open = isOpen;
  }
  const renewed = part.querySelector(".log");
  if (renewed) renewed.scrollTop = atEnd ? renewed.scrollHeight : top;
  showLastLine();
  tick();
}

// A traceback that is too long for its box ends with what one looks for.
function showLastLine() {
  for (const node of document.querySelectorAll(".failure pre")) node.scrollTop = node.scrollHeight;
}

async function renew(part) {
  const url = new URL(location.href);
  url.searchParams.set("fragment", "1");
  const answer = await fetch(url, { cache: "no-cache", credentials: "same-origin" });
  if (answer.status === 401) location.reload();
  if (!answer.ok) throw new Error(String(answer.status));
  const html = await answer.text();
  const selecting = String(getSelection()) !== "" && part.contains(getSelection().anchorNode);
  if (html !== part.dataset.last && !selecting) {
    part.dataset.last = html;
    replace(part, html);
  }
}

async function live(part) {
  const every = Number(part.dataset.live);
  let failing = 0;
  while (every > 0 && !part.querySelector("[data-over]")) {
    await new Promise((done) => setTimeout(done, Math.min(every * 2 ** failing, 30000)));
    if (document.hidden) continue;
    try {
      await renew(part);
      failing = 0;
      state.textContent = "Live";
    } catch {
      failing += 1;
      state.textContent = "No answer; trying again";
    }
  }
  state.textContent = "";
}

showLastLine();
tick();
setInterval(tick, 1000);
document.querySelectorAll("[data-live]").forEach(live);
