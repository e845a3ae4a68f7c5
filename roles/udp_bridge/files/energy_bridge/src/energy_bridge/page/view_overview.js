// SPDX-License-Identifier: GPL-3.0-or-later
// The first view: is it well, who trades how much, what it is worth.

import { get } from "./api.js";
import { bridgeNow } from "./clock.js";
import { h, keep } from "./dom.js";
import { connection } from "./live.js";
import { clockTime, count, energy, plural, share, slotTime } from "./format.js";
import {
  KINDS,
  actorLink,
  ago,
  blockLink,
  figure,
  headline,
  kwhFigure,
  link,
  localWh,
  meter,
  moment,
  net,
  numberCell,
  routes,
  rowHead,
  saved,
  section,
  sealerName,
  sumFigure,
  table,
  tradesTable,
} from "./parts.js";
import { meritLegend, meritOrder } from "./plot.js";
import { balancesAreOld } from "./troubles.js";

export const title = () => "Overview";

let newest = { key: null, slot: null };

/** The newest slot's merit order, asked for again when it may be another one; the rest is in the overview. */
export async function load(_, { latest_slot: slot, started, bridge: { trades } }) {
  const key = [slot, started, trades.made, trades.refused].join();
  if (newest.key !== key) newest = { key, slot: slot === null ? null : await get(`slots/${slot}`) };
  return newest;
}

export function render({ data, overview, width, wide, money, redraw }) {
  const { market } = overview;
  return [
    h("h1", { tabindex: -1 }, wellness(overview)),
    lead(overview),
    totals(overview, money),
    actors(overview, money, redraw),
    h(
      "div",
      { class: "pair" },
      data?.slot
        ? section(
            ["Merit order, ", link(routes.slot(data.slot.slot), slotTime(data.slot.slot, market.slot_s))],
            slotPlot(data.slot, { id: "newest", market, money, width: wide ? Math.floor((width - 48) * 0.44) : width }),
            meritLegend(data.slot.offers),
          )
        : section(
            "Merit order",
            h(
              "p",
              { class: "quiet empty" },
              overview.latest_slot === null ? "No slot has closed yet." : "Asking the bridge …",
            ),
          ),
      section(
        "Newest trades",
        tradesTable(overview.trades.slice(0, 10), {
          caption: "The newest trades",
          hideCaption: true,
          compact: true,
          market,
          money,
          empty: "No trade was made yet.",
          without: ["price", "confirmations", "block", "transaction"],
        }),
        overview.trades.length ? h("p", { class: "further" }, link("#/trades", "All trades")) : null,
      ),
    ),
    sealers(overview),
  ];
}

/** A slot's merit order, drawn; also the slot view's. */
export function slotPlot(slot, { id, market, money, width }) {
  const local = localWh(slot.trades, market);
  const pairs = slot.trades.filter(
    (trade) =>
      !trade.imbalance && ![trade.seller, trade.buyer].includes(market.grid) && trade.buyer !== market.fee_account,
  );
  const [wh, wei] = pairs.reduce(([a, b], trade) => [a + trade.energy_wh, b + BigInt(trade.amount_wei)], [0, 0n]);
  return meritOrder({
    id: `merit-${id}`,
    slot,
    clearedWh: local,
    averagePrice: wh ? `${money.averagePrice(wei, wh)} per kWh` : null,
    money,
    width,
    title: `Merit order of the slot ${slotTime(slot.slot, market.slot_s)}`,
  });
}

function wellness({ health, now }) {
  if (connection.lostSince !== null)
    return `${health.healthy ? "All was well" : "Something was wrong"} at ${clockTime(connection.lostSince)}.`;
  if (connection.trouble !== null)
    return `${health.healthy ? "All was well" : "Something was wrong"} at ${clockTime(now)}.`;
  if (health.healthy && !health.problems.length) return "All is well.";
  return health.problems.length > 1 ? `${plural(health.problems.length, "thing")} are wrong.` : "Something is wrong.";
}

function lead({ now, chain, market, bridge }) {
  const parts = [];
  if (chain.head_block !== null)
    parts.push("Block ", blockLink(chain.head_block), " was sealed ", ago(chain.head_time), ". ");
  else parts.push("Nothing is known of the chain. ");
  if (bridge.outbox_trades) {
    parts.push(
      `${plural(bridge.outbox_trades, "trade")} of closed slots ${bridge.outbox_trades === 1 ? "is" : "are"} on the way into the chain`,
    );
    parts.push(...(bridge.outbox_age_s ? [", the oldest for ", ago(now - bridge.outbox_age_s, ""), "."] : ["."]));
  } else parts.push(bridge.trades.made ? "Every trade is settled." : "No trade was made yet.");
  if (market.clock === "simulated") parts.push(" The market's time is simulated.");
  if (!market.authenticated) parts.push(" Readings are taken without a signature.");
  return h("p", { class: "lead" }, parts);
}

function totals({ totals: total, actors: all, bridge }, money) {
  const local = total.traded_wh ? total.local_wh / total.traded_wh : null;
  const savings = all.map(saved).filter((wei) => wei !== null);
  const sum = savings.reduce((a, b) => a + b, 0n);
  return headline([
    {
      name: "Traded",
      value: figure(total.traded_wh, energy(total.traded_wh)),
      more: `in ${plural(bridge.trades.settled, "settled trade")}`,
    },
    {
      name: "Of that between neighbours",
      value: figure(local, share(local)),
      more: local === null ? null : [meter(local, "wide"), ` ${energy(total.local_wh)}`],
    },
    {
      name: sum < 0n ? "Lost by trading here" : "Saved by trading here",
      value: savings.length ? sumFigure(money, sum < 0n ? -sum : sum) : "–",
      more:
        savings.length && sum === 0n && total.local_wh
          ? "the grid pays what it takes: what one gains, another gives"
          : "against the grid's tariff alone",
    },
    {
      name: "With the grid",
      value: figure(total.grid_wh, energy(total.grid_wh)),
      more: "bought from it or sold to it",
    },
  ]);
}

const sorting = { column: "actor", falling: false };
const filter = { text: "" };

const COLUMNS = [
  {
    name: "actor",
    text: "Actor",
    of: (actor) => actor.name,
    cell: (actor) => rowHead(actorLink(actor.name), h("span", { class: "kind" }, KINDS[actor.kind] ?? actor.kind)),
  },
  {
    name: "balance",
    text: "Balance",
    number: true,
    of: (actor) => (actor.balance_wei === null ? null : BigInt(actor.balance_wei)),
    cell: (actor, money) => numberCell(sumFigure(money, actor.balance_wei)),
  },
  {
    name: "net",
    text: "Earned",
    number: true,
    of: net,
    cell: (actor, money) => numberCell(sumFigure(money, net(actor), true)),
  },
  {
    name: "saved",
    text: "Against grid only",
    number: true,
    of: saved,
    cell: (actor, money) => numberCell(savedCell(actor, money)),
  },
  {
    name: "sold",
    text: "Sold, kWh",
    number: true,
    of: (actor) => actor.sold_wh,
    cell: (actor) => numberCell(kwhFigure(actor.sold_wh)),
  },
  {
    name: "bought",
    text: "Bought, kWh",
    number: true,
    of: (actor) => actor.bought_wh,
    cell: (actor) => numberCell(kwhFigure(actor.bought_wh)),
  },
  {
    name: "consumption",
    text: "Self-consumption",
    number: true,
    of: (actor) => actor.self_consumption,
    cell: (actor) => numberCell(shareCell(actor.self_consumption)),
  },
  {
    name: "sufficiency",
    text: "Self-sufficiency",
    number: true,
    of: (actor) => actor.self_sufficiency,
    cell: (actor) => numberCell(shareCell(actor.self_sufficiency)),
  },
];

/** "saved €1.20", or "lost". */
export function savedCell(figures, money) {
  const wei = saved(figures);
  if (wei === null) return h("span", { class: "quiet" }, "–");
  if (wei === 0n) return figure(0n, money.sum(0n));
  return figure(
    wei,
    [
      h("span", { class: wei > 0n ? "word good" : "word bad" }, wei > 0n ? "saved " : "lost "),
      money.sum(wei < 0n ? -wei : wei),
    ],
    "wei",
  );
}

const shareCell = (value) =>
  value === null
    ? h("span", { class: "quiet" }, "–")
    : h("span", { class: "share" }, meter(value), figure(value, share(value)));

const collator = new Intl.Collator("en", { numeric: true });

function inOrder(actors, grid) {
  const { of } = COLUMNS.find((column) => column.name === sorting.column);
  const compare = (a, b) => (typeof a === "string" ? collator.compare(a, b) : a < b ? -1 : a > b ? 1 : 0);
  return actors
    .map((actor) => ({ actor, by: of(actor) }))
    .sort((a, b) => {
      if (a.actor.name === grid || b.actor.name === grid) return a.actor.name === grid ? 1 : -1;
      if (a.by === null || b.by === null)
        return (a.by === null) - (b.by === null) || collator.compare(a.actor.name, b.actor.name);
      return (sorting.falling ? -1 : 1) * compare(a.by, b.by) || collator.compare(a.actor.name, b.actor.name);
    })
    .map(({ actor }) => actor);
}

function actors(overview, money, redraw) {
  const text = filter.text.trim().toLowerCase();
  const shown = overview.actors.filter(
    (actor) =>
      !text ||
      actor.name.toLowerCase().includes(text) ||
      (KINDS[actor.kind] ?? actor.kind).toLowerCase().includes(text),
  );
  const sort = (name, number) => () => {
    sorting.falling = sorting.column === name ? !sorting.falling : number === true;
    sorting.column = name;
    redraw();
  };
  const columns = COLUMNS.map(({ name, text: words, number }) => ({
    text: words,
    number,
    onSort: sort(name, number),
    sorted: sorting.column === name ? (sorting.falling ? "descending" : "ascending") : null,
  }));
  const old = balancesAreOld(overview, bridgeNow());
  return h(
    "section",
    {},
    h(
      "div",
      { class: "heading" },
      h("h2", {}, "Actors"),
      h(
        "label",
        { class: "filter" },
        h("span", {}, "Filter"),
        h("input", {
          type: "search",
          id: "actor-filter",
          autocomplete: "off",
          spellcheck: "false",
          placeholder: "name or kind",
          on: {
            input: (event) => {
              filter.text = event.target.value;
              redraw();
            },
          },
          value: filter.text,
        }),
      ),
    ),
    table({
      caption: "Actors: money and energy of all days",
      hideCaption: true,
      columns,
      name: "actors",
      empty: overview.actors.length ? "No actor is called like that." : "There is no actor.",
      rows: inOrder(shown, overview.market.grid).map((actor) =>
        keep(
          `${JSON.stringify(actor)} ${money.currency} ${money.weiPerUnit}`,
          "tr",
          { "data-key": `a-${actor.name}`, class: actor.name === overview.market.grid ? "grid" : null },
          () => COLUMNS.map((column) => column.cell(actor, money)),
        ),
      ),
    }),
    h(
      "p",
      { class: "note" },
      shown.length < overview.actors.length
        ? `${count(shown.length)} of ${plural(overview.actors.length, "actor")}. `
        : null,
      "Self-consumption: how much of what it sold stayed off the grid. Self-sufficiency: how much of what it bought came from elsewhere than the grid.",
      overview.as_of.balances === null
        ? " Balances are not known yet."
        : old
          ? [
              " Balances are as of ",
              moment(overview.as_of.balances, clockTime),
              ", ",
              ago(overview.as_of.balances),
              ".",
            ]
          : null,
    ),
  );
}

function sealers({ chain, market }) {
  if (!chain.sealers.length)
    return section("Sealers", h("p", { class: "quiet empty" }, "Who seals is not known: the node does not say."));
  return section(
    "Sealers",
    h(
      "ul",
      { class: "sealers" },
      chain.sealers.map((sealer) =>
        h(
          "li",
          { class: sealer.sealed ? null : "silent", "data-key": sealer.address },
          h("strong", {}, sealerName(sealer.name, sealer.address)),
          sealer.last_block === null
            ? h("span", {}, `none of the last ${count(chain.window_blocks)} blocks`)
            : h("span", {}, "block ", blockLink(sealer.last_block), ", ", ago(sealer.last_time)),
          h(
            "span",
            { class: "quiet" },
            sealer.sealed
              ? `${count(sealer.sealed)} of ${count(chain.window_blocks)} blocks, ${share(sealer.in_turn / sealer.sealed)} in turn`
              : "",
          ),
        ),
      ),
    ),
    h(
      "p",
      { class: "further" },
      chain.block_time_s === null
        ? null
        : `A block every ${count(chain.block_time_s)} s (meant: ${count(market.period_s)} s). `,
      link("#/chain", "More of the chain and the bridge"),
    ),
  );
}
