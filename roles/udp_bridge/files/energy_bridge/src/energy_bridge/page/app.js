// SPDX-License-Identifier: GPL-3.0-or-later
// Routes, and what is on the screen: the overview and the shown view's own data, drawn again where they changed.

import { bridgeNow, difference } from "./clock.js";
import { h, patch } from "./dom.js";
import { Money, clockTime, utc } from "./format.js";
import { connection, currentOverview, start } from "./live.js";
import { link, tick } from "./parts.js";
import { troubles } from "./troubles.js";
import * as actorView from "./view_actor.js";
import * as blockView from "./view_block.js";
import * as chainView from "./view_chain.js";
import * as overviewView from "./view_overview.js";
import * as slotView from "./view_slot.js";
import * as tradesView from "./view_trades.js";
import * as transactionView from "./view_transaction.js";

// As in style.css: 40rem, 62rem, 74rem.
const [NARROW_PX, WIDE_PX, MOST_PX] = [640, 992, 1184];
const FALLBACK_PX = 360;
const NAME = "Energy market";
const main = document.getElementById("main");
const number = (text) => Number.parseInt(text, 10);

const ROUTES = [
  [/^\/?$/, overviewView, () => ({}), "overview"],
  [
    /^\/actors\/([^/]+)$/,
    actorView,
    ([name], query) => ({ name: decodeURIComponent(name), day: query.get("day") ?? undefined }),
    "overview",
  ],
  [/^\/slots$/, slotView, (_, query) => ({ before: query.get("before") ?? undefined }), "slots"],
  [/^\/slots\/(\d+)$/, slotView, ([slot]) => ({ slot: number(slot) }), "slots"],
  [/^\/trades$/, tradesView, (_, query) => tradeFilter(query), "trades"],
  [/^\/transactions\/(0x[0-9a-fA-F]{64})$/, transactionView, ([hash]) => ({ hash: hash.toLowerCase() }), "trades"],
  [
    /^\/blocks\/(\d+|latest)$/,
    blockView,
    ([block]) => ({ number: block === "latest" ? block : number(block) }),
    "chain",
  ],
  [/^\/chain$/, chainView, () => ({}), "chain"],
];
const NAVIGATION = [
  ["overview", "#/", "Overview"],
  ["slots", "#/slots", "Slots"],
  ["trades", "#/trades", "Trades"],
  ["chain", "#/chain", "Chain"],
];

function tradeFilter(query) {
  const filter = {};
  for (const name of ["actor", "state", "day", "before"]) if (query.get(name)) filter[name] = query.get(name);
  if (/^\d+$/.test(query.get("slot") ?? "")) filter.slot = number(query.get("slot"));
  return filter;
}

function parse(hash) {
  const [path, search = ""] = hash.replace(/^#/, "").split("?");
  for (const [pattern, view, parameters, part] of ROUTES) {
    const found = pattern.exec(path);
    if (found) {
      try {
        return { view, parameters: parameters(found.slice(1), new URLSearchParams(search)), part, hash };
      } catch {
        break; // what is no text behind its percent signs
      }
    }
  }
  return { view: null, parameters: {}, part: null, hash };
}

let route = parse(location.hash);
let data = null; // the shown view's own, once it is loaded
let dataAt = null;
let failure = null; // why it could not be loaded, or not again
let loading = false;
let loadAgain = false;
let drawn = null; // what the screen was drawn from
let money = null;
let moneyOf = null;

async function load() {
  const overview = currentOverview();
  if (!overview || !route.view) return draw();
  if (loading) {
    loadAgain = true;
    return undefined;
  }
  loading = true;
  loadAgain = false;
  const wanted = route;
  if (data === null) draw();
  try {
    const loaded = await wanted.view.load(wanted.parameters, overview);
    if (wanted === route) {
      data = loaded;
      dataAt = bridgeNow();
      failure = null;
    }
  } catch (error) {
    if (wanted === route) failure = error;
  } finally {
    loading = false;
  }
  if (loadAgain || wanted !== route) return load();
  return draw();
}

function moneyFor(market) {
  const key = `${market.currency} ${market.wei_per_unit}`;
  if (moneyOf !== key) {
    moneyOf = key;
    money = new Money(market);
  }
  return money;
}

function draw(force = false) {
  const overview = currentOverview();
  chrome(overview);
  if (!route.view) {
    patch(main, [
      wrap([h("h1", { tabindex: -1 }, "There is no such view."), h("p", {}, link("#/", "To the overview"))]),
    ]);
    return;
  }
  if (!overview) return;
  const room = document.documentElement.clientWidth || FALLBACK_PX; // 0 while a page is not laid out yet
  const width = Math.min(MOST_PX, room) - (room <= NARROW_PX ? 32 : 64);
  const same = [route, data, failure?.message, overview, width, connection.lostSince, connection.trouble];
  if (!force && drawn && same.every((part, n) => part === drawn[n])) return;
  drawn = same;
  const view = {
    data,
    overview,
    parameters: route.parameters,
    money: moneyFor(overview.market),
    width,
    wide: room > WIDE_PX,
    redraw: () => draw(true),
    reload: () => load(),
  };
  const nodes =
    data === null && failure
      ? [
          h("h1", { tabindex: -1 }, failure.status === 404 ? "It is not there." : "It cannot be shown."),
          h("p", { class: "lead" }, failure.message),
          h("p", {}, link("#/", "To the overview")),
        ]
      : data === null && route.view !== overviewView
        ? [h("p", { class: "quiet" }, "Asking the bridge …")]
        : [
            failure && connection.lostSince === null
              ? h(
                  "p",
                  { class: "inline bad" },
                  `What follows is from ${clockTime(dataAt ?? overview.now)}: ${failure.message}`,
                )
              : null,
            ...route.view.render(view),
          ];
  patch(main, [wrap(nodes)]);
  tick(main, overview.chain.head_block);
  const titled = route.view.title(route.parameters, overview.market);
  document.title = `${overview.health.healthy && connection.lostSince === null && connection.trouble === null ? "" : "(!) "}${titled} · ${NAME}`;
  if (arrived && data !== null) {
    arrived = false;
    main.querySelector("h1")?.focus({ preventScroll: true });
  }
}

let arrived = false; // a route was chosen, and its heading is to get the focus

const wrap = (nodes) =>
  h("div", { class: "wrap view", "data-key": route.hash.split("?")[0] || "#/" }, nodes.filter(Boolean));

function chrome(overview) {
  patch(
    document.getElementById("nav"),
    NAVIGATION.map(([part, target, text]) =>
      h(
        "a",
        {
          href: target,
          "aria-current": part === route.part ? (target === (route.hash || "#/") ? "page" : "true") : null,
        },
        text,
      ),
    ),
  );
  const lost = connection.lostSince !== null;
  const well = !lost && connection.trouble === null;
  patch(document.getElementById("link"), [
    h("span", { class: `dot ${!overview || !well ? "off" : overview.health.healthy ? "on" : "warn"}` }),
    h("span", {}, !overview ? "connecting" : !well ? "not connected" : "live"),
    ...(overview
      ? [
          h(
            "time",
            { datetime: new Date(overview.now * 1000).toISOString(), title: utc(overview.now) },
            clockTime(overview.now),
          ),
        ]
      : []),
  ]);
  say(troubles(overview, connection, { now: bridgeNow(), browserNow: Date.now() / 1000, ahead: difference() }));
  if (overview) {
    const { market } = overview;
    patch(document.getElementById("foot"), [
      h(
        "p",
        {},
        `Times are this device's (${Intl.DateTimeFormat().resolvedOptions().timeZone}); hover for UTC. Chain ${market.chain_id}, ${market.mode === "agreement" ? "an agreement per trade" : "a market contract"}. `,
        h("a", { href: "api/v1/overview" }, "These figures as JSON"),
        ", ",
        h("a", { href: "api/v1/openapi.json" }, "the API"),
        ", ",
        h("a", { href: "metrics" }, "metrics"),
        ".",
      ),
    ]);
  }
}

// What is new is spoken by a screen reader; that its figures go on is not.
const QUIET_AFTER_MS = 1000;
const spoken = new Map();

function say(found) {
  const keys = new Set(found.map(({ key }) => key));
  for (const key of [...spoken.keys()]) if (!keys.has(key)) spoken.delete(key);
  patch(
    document.getElementById("troubles"),
    found.map(({ key, level, before, age, after }) => {
      if (!spoken.has(key)) spoken.set(key, performance.now());
      const quiet = performance.now() - spoken.get(key) > QUIET_AFTER_MS;
      return h(
        "p",
        { class: level, "data-key": key, "aria-live": quiet ? "off" : null },
        h("span", { class: "wrap" }, before, age ?? null, after ?? null),
      );
    }),
  );
}

window.addEventListener("hashchange", () => {
  if (location.hash === "#main") return;
  const next = parse(location.hash);
  const samePlace = next.view === route.view && next.hash.split("?")[0] === route.hash.split("?")[0];
  route = next;
  failure = null;
  if (!samePlace) {
    data = null;
    arrived = true;
    window.scrollTo(0, 0);
  }
  load();
});

// The skip link is no route: the address stays what it is.
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  (main.querySelector("h1") ?? main).focus();
});

let resizing = null;
new ResizeObserver(() => {
  resizing ??= requestAnimationFrame(() => {
    resizing = null;
    draw();
  });
}).observe(document.documentElement);

setInterval(() => {
  tick(main, currentOverview()?.chain.head_block ?? null);
  chrome(currentOverview());
}, 1000);

start(
  () => load(),
  () => draw(),
);
chrome(null);
