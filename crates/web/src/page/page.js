"use strict";

// Everything that is shown is put in as text, never as HTML: remotes choose parts of it.

/** The program sends at least once a second. */
const LOST_AFTER = 3000;
/** How long a new row stands out, in milliseconds. */
const FRESH = 4000;
/** A listener that was refused tries again after this time. */
const AGAIN_AFTER = 2000;

const byId = (id) => document.getElementById(id);

/** Sets a text only if it differs, so that a selection stays and nothing is read out twice. */
function say(id, text) {
  const element = byId(id);
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

function time(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** A short time, where parts of a second matter. */
function precise(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : time(seconds);
}

function bytes(count) {
  if (count < 1e4) return `${Math.round(count)} B`;
  if (count < 1e7) return `${(count / 1e3).toFixed(1)} kB`;
  if (count < 1e10) return `${(count / 1e6).toFixed(1)} MB`;
  return `${(count / 1e9).toFixed(1)} GB`;
}

const short = (peer) => (peer ? peer.slice(-8) : "");
/** An address without the peer id at its end, where that is shown already. */
const bare = (address, peer) => (address.endsWith(`/p2p/${peer}`) ? address.slice(0, -peer.length - 5) : address);
const ago = (seconds) => `${time(seconds)} ago`;

function path(value) {
  if (!value) return { text: "", kind: "" };
  if (value.direct) return { text: `direct over ${value.direct.transport.toUpperCase()}`, kind: "good" };
  return { text: `relayed through ${short(value.relayed.relay)}`, kind: "fair" };
}

/** A cell: a text, or a badge or code with a remark below it. */
function cell(content, extra) {
  const td = document.createElement("td");
  const { text = "", badge = null, code = false, why = "", title = "" } = typeof content === "string" ? { text: content } : content;
  td.className = extra;
  const whole = document.createElement("span");
  if (text) {
    const part = document.createElement(code ? "code" : "span");
    part.textContent = text;
    if (badge) part.className = `badge ${badge}`;
    if (title) part.title = title;
    whole.append(part);
  }
  if (why) {
    const part = document.createElement("span");
    part.className = "why";
    part.textContent = why;
    whole.append(part);
  }
  td.append(whole);
  if (!text && !why) td.classList.add("empty");
  return td;
}

/**
 * Fills a table; on a phone each row is a card. A column is [head, class, cell of an entry].
 * The keys of rows that have not been there before are returned.
 */
const known = new Map();
function table(id, list, columns, key, none) {
  const box = byId(id);
  const { total, shown } = list;
  if (shown.length === 0) {
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = none;
    box.replaceChildren(note);
    known.set(id, new Map());
    return [];
  }
  const before = known.get(id);
  const now = Date.now();
  const seen = new Map();
  const fresh = [];
  const head = document.createElement("thead");
  const heads = document.createElement("tr");
  for (const [name, extra] of columns) {
    const th = document.createElement("th");
    th.scope = "col";
    th.className = extra;
    th.textContent = name;
    heads.append(th);
  }
  head.append(heads);
  const body = document.createElement("tbody");
  for (const entry of shown) {
    const row = document.createElement("tr");
    const name = key(entry);
    const since = before ? before.get(name) ?? now : 0;
    if (before && !before.has(name)) fresh.push(entry);
    seen.set(name, since);
    if (now - since < FRESH) row.className = "fresh";
    for (const [name, extra, content] of columns) {
      const td = cell(content(entry), extra);
      td.dataset.head = name;
      row.append(td);
    }
    body.append(row);
  }
  known.set(id, seen);
  const made = document.createElement("table");
  made.append(head, body);
  const parts = [made];
  if (total > shown.length) {
    const more = document.createElement("p");
    more.className = "more";
    more.textContent = `and ${total - shown.length} more`;
    parts.push(more);
  }
  // A table that is the same stays, with whatever is selected in it.
  if (box.firstElementChild?.isEqualNode(made) && parts.length === box.children.length) return fresh;
  box.replaceChildren(...parts);
  return fresh;
}

const peerCell = (peer, otherwise) => (peer ? { text: short(peer), code: true, title: peer } : { text: otherwise ?? "" });

const PEERS = [
  ["Peer", "lead short", (peer) => peerCell(peer.peer, peer.address)],
  ["Path", "", (peer) => { const { text, kind } = path(peer.path); return { text, badge: kind, why: peer.reason ?? "" }; }],
  ["Direction", "short", (peer) => peer.direction],
  ["For", "number", (peer) => time(peer.age)],
  ["Received", "number", (peer) => bytes(peer.received)],
  ["Sent", "number", (peer) => bytes(peer.sent)],
  ["Agent", "", (peer) => peer["user-agent"] ?? ""],
];
const MOVES = [
  ["Peer", "lead short", (move) => peerCell(move.peer)],
  ["From", "", (move) => { const { text, kind } = path(move.from); return { text, badge: kind, why: move.reason ?? "" }; }],
  ["To", "", (move) => { const { text, kind } = path(move.to); return { text, badge: kind }; }],
  ["Without a path", "number", (move) => (move.stall > 0 ? precise(move.stall) : "never")],
  ["When", "number", (move) => ago(move.age)],
];
const RELAY_KINDS = { confirmed: "good", requested: "fair", lost: "bad" };
const RELAYS = [
  ["Relay", "lead short", (relay) => peerCell(relay.relay)],
  ["Reservation", "", (relay) => ({
    text: relay.state,
    badge: RELAY_KINDS[relay.state] ?? "wait",
    why: [relay.cause, relay["retry-in"] !== null ? `again in ${time(relay["retry-in"])}` : ""].filter(Boolean).join(", "),
  })],
  ["For", "number", (relay) => time(relay.age)],
  ["Round trip", "number", (relay) => precise(relay["round-trip"])],
  ["Address", "", (relay) => ({ text: (relay.addresses ?? []).map((address) => bare(address, relay.relay)).join("  "), code: true })],
];
const PUNCHES = [
  ["Peer", "lead short", (punch) => peerCell(punch.peer)],
  ["Outcome", "", (punch) => ({
    text: punch.transport ? `direct over ${punch.transport.toUpperCase()}` : "failed",
    badge: punch.transport ? "good" : "fair",
    why: punch.reason ?? "",
  })],
  ["Attempt", "number", (punch) => String(punch.attempt)],
  ["Took", "number", (punch) => precise(punch.duration)],
  ["When", "number", (punch) => ago(punch.age)],
  ["Next", "number", (punch) => (punch["retry-in"] > 0 ? `in ${time(punch["retry-in"])}` : "")],
];
const RESERVATIONS = [
  ["Peer", "lead short", (held) => peerCell(held.peer)],
  ["For", "number", (held) => time(held.age)],
];
const CIRCUITS = [
  ["From", "lead short", (circuit) => peerCell(circuit.source)],
  ["To", "short", (circuit) => peerCell(circuit.destination)],
  ["Count", "number", (circuit) => String(circuit.count)],
  ["For", "number", (circuit) => time(circuit.age)],
];
const ADDRESSES = [
  ["Kind", "lead short", (entry) => entry.kind],
  ["Address", "", (entry) => ({ text: entry.address, code: true, why: entry.why })],
];
const COUNTERS = [
  ["Event", "", ([name]) => name],
  ["Count", "number", ([, count]) => String(count)],
];

const list = (entries) => ({ total: entries.length, shown: entries });
const hide = (id, hidden) => { byId(id).hidden = hidden; };

const NAT_NAMES = {
  "endpoint-independent": "endpoint-independent",
  "endpoint-dependent": "symmetric",
  unknown: "not known yet",
};

function overview(status) {
  const isRelay = status.role === "relay";
  document.title = `Kaspath ${status.role} ${short(status.peer)}`;
  say("role", status.role);
  say("peer", status.peer);
  say("program", status.program);
  say("uptime", time(status.uptime));
  const shown = status.peers.shown;
  const direct = shown.filter((peer) => peer.path.direct).length;
  say("peer-count", String(isRelay ? status.reservations.total : status.peers.total));
  say("peer-split", isRelay ? "with a reservation here" : `${direct} direct, ${shown.length - direct} relayed`);
  if (isRelay) {
    say("relay-count", String(status.circuits.total));
    byId("relay-tile").querySelector("h2").textContent = "Circuits";
    say("relay-note", "pairs of peers");
  } else {
    const held = status.relays.shown.filter((relay) => relay.state === "confirmed").length;
    say("relay-count", `${held} of ${status.relays.total}`);
    say("relay-note", status.relays.total ? "confirmed by relays" : "no relay is configured");
  }
  if (status.traffic) {
    const { received, sent } = status.traffic;
    say("rate", `${bytes(status.traffic["received-rate"] + status.traffic["sent-rate"])}/s`);
    say("total", `${bytes(received)} received, ${bytes(sent)} sent`);
  } else {
    say("rate", bytes(status.counters["circuit-bytes"] ?? 0));
    say("total", "moved by circuits that have ended");
  }
  hide("nat-tile", !status.nat);
  if (status.nat) {
    byId("nat").className = "figure words";
    say("nat", NAT_NAMES[status.nat.mapping] ?? status.nat.mapping);
    say("nat-meaning", status.nat.meaning);
  }
}

function show(status) {
  const isRelay = status.role === "relay";
  overview(status);
  for (const id of ["peers", "moves", "relays", "punches"]) hide(`${id}-section`, isRelay);
  for (const id of ["reservations", "circuits"]) hide(`${id}-section`, !isRelay);
  table("peers", status.peers, PEERS, (peer) => `${peer.peer ?? peer.address} ${peer.direction}`, "No peer is connected.");
  const moved = table("moves", list(status.moves), MOVES, (move) => String(move.number), "No session has moved from one path to another yet.");
  table("relays", status.relays, RELAYS, (relay) => relay.relay, "No relay is configured.");
  table("punches", list(status.punches), PUNCHES, (punch) => String(punch.number), "No hole punch has ended yet.");
  table("reservations", status.reservations, RESERVATIONS, (held) => held.peer, "No peer has a reservation here.");
  table("circuits", status.circuits, CIRCUITS, (circuit) => circuit.source + circuit.destination, "No circuit is open.");
  const addresses = [
    ...status.listening.map((address) => ({ kind: "listens on", address: bare(address, status.peer), why: "" })),
    ...status.announced.map((address) => ({ kind: "announced", address: bare(address, status.peer), why: "" })),
    ...(status.nat?.observed ?? []).map(({ address, by }) => ({ kind: "seen as", address: bare(address, status.peer), why: `by ${short(by)}` })),
  ];
  table("addresses", list(addresses), ADDRESSES, (entry) => entry.kind + entry.address + entry.why, "This program listens nowhere.");
  const counters = Object.entries(status.counters).sort(([a], [b]) => (a < b ? -1 : 1));
  table("counters", list(counters), COUNTERS, ([name]) => name, "Nothing has happened yet.");
  if (moved.length > 0) {
    const [move] = moved;
    say("news", `The session with ${short(move.peer)} is ${path(move.to).text} now.`);
  }
}

let heard = Date.now();

function connection(text, kind) {
  const badge = byId("connection");
  badge.className = `badge ${kind}`;
  say("connection", text);
}

function onStatus(event) {
  heard = Date.now();
  document.body.classList.remove("lost");
  connection("live", "good");
  show(JSON.parse(event.data));
}

function listen() {
  const source = new EventSource("events");
  source.addEventListener("message", onStatus);
  source.addEventListener("error", async () => {
    // A connection that broke is tried again by the browser, one that was refused is not.
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(listen, AGAIN_AFTER);
    const reply = await fetch("readyz").catch(() => null);
    if (reply?.status === 401) location.reload();
  });
}

setInterval(() => {
  if (Date.now() - heard > LOST_AFTER) {
    document.body.classList.add("lost");
    connection("connection lost", "bad");
  }
}, 500);

listen();
