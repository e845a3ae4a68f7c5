// SPDX-License-Identifier: GPL-3.0-or-later
// What several views are made of.

import { bridgeNow } from "./clock.js";
import { h, keep, s } from "./dom.js";
import { count, dateTime, duration, energy, kwh, shortHash, slotStart, slotTime, utc } from "./format.js";

export const KINDS = { Load: "load", PV: "photovoltaics", CHP: "heat and power", Battery: "battery", Grid: "grid" };

const STATES = {
  WAITING: ["waiting", "It waits for a batch."],
  BATCHED: ["batched", "It is in a batch that is not signed yet."],
  SIGNED: ["signed", "Its transaction is signed, and perhaps sent."],
  SENT: ["sent", "Its transaction is sent, and in no block yet."],
  MINED: ["in the chain", "Its transaction is in a block that is not final yet."],
  REVERTED: ["reverted", "Its transaction had no effect; it goes into another batch."],
  FINAL: ["settled", "It is settled, and final."],
  REFUSED: ["refused", "The contract does not take it."],
};
export const STATE_NAMES = Object.keys(STATES);
export const stateWord = (state) => STATES[state]?.[0] ?? state;

/** A link, by its hash route. */
export const link = (route, ...children) => h("a", { href: route }, ...children);

export const routes = {
  actor: (name, day) => `#/actors/${encodeURIComponent(name)}${day ? `?day=${day}` : ""}`,
  slot: (slot) => `#/slots/${slot}`,
  transaction: (hash) => `#/transactions/${hash}`,
  block: (number) => `#/blocks/${number}`,
  trades: (parameters) => {
    const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
    return `#/trades${query.size ? `?${query}` : ""}`;
  },
};

/** A point in time: local, with UTC on hover. Seconds since the epoch. */
export const moment = (seconds, text = dateTime) =>
  seconds === null || seconds === undefined
    ? h("span", { class: "quiet" }, "–")
    : h("time", { datetime: new Date(seconds * 1000).toISOString(), title: utc(seconds) }, text(seconds));

/** How long ago something was, which goes on by itself. */
export const ago = (seconds, after = " ago") =>
  seconds === null || seconds === undefined
    ? h("span", { class: "quiet" }, "–")
    : h(
        "time",
        {
          datetime: new Date(seconds * 1000).toISOString(),
          title: `${dateTime(seconds)} (${utc(seconds)})`,
          "data-since": seconds,
          "data-after": after,
        },
        ageText(seconds, after),
      );

const ageText = (seconds, after) => duration(bridgeNow() - seconds) + after;

/** Let the ages below an element go on, and the confirmations; head is the newest block, or null. */
export function tick(root, head) {
  if (head !== null) {
    for (const element of root.querySelectorAll("data[data-block]")) {
      const confirmations = Math.max(0, head - Number(element.dataset.block) + 1);
      if (element.value !== String(confirmations)) {
        element.value = confirmations;
        element.textContent = count(confirmations);
      }
    }
  }
  for (const element of root.querySelectorAll("time[data-since]")) {
    const text = ageText(Number(element.dataset.since), element.dataset.after);
    if (element.firstChild?.nodeValue !== text) element.textContent = text;
  }
}

/** A figure, with its exact value for programs and on hover. */
export const figure = (value, text, unit) =>
  value === null || value === undefined
    ? h("span", { class: "quiet" }, "–")
    : h("data", { value, title: unit ? `${String(value).replace("-", "\u2212")} ${unit}` : null }, text);

export const energyFigure = (wh) => figure(wh, energy(wh));
export const kwhFigure = (wh) => (wh === 0 ? figure(0, "0") : figure(wh, kwh(wh)));
export const sumFigure = (money, wei, signed = false) => figure(wei, money.sum(wei, signed), "wei");
export const amountFigure = (money, wei) => figure(wei, money.amount(wei), "wei");
export const priceFigure = (money, weiPerWh) => figure(weiPerWh, money.price(weiPerWh), "wei per Wh");
export const countFigure = (value) => figure(value, count(value));

/** What an actor of FIGURES got less what it paid, and that less what the grid alone would have brought; BigInt or null. */
export const net = (figures) => BigInt(figures.received_wei) - BigInt(figures.paid_wei);
export const saved = (figures) =>
  figures.grid_only_wei === null ? null : net(figures) - BigInt(figures.grid_only_wei);

/** A bar beside its figure: which part of a whole. Drawn for the eye; the figure says the same. */
export const meter = (part, name = "") =>
  s(
    "svg",
    { class: `meter ${name}`, viewBox: "0 0 64 6", width: 64, height: 6, "aria-hidden": "true", focusable: "false" },
    s("rect", { class: "track", width: 64, height: 6, rx: 3 }),
    part ? s("rect", { class: "fill", width: Math.max(3, 64 * Math.min(1, part)), height: 6, rx: 3 }) : null,
  );

/** A table in a region of its own, which scrolls by itself. columns: [{text, number, sort, onSort}]; rows: <tr> elements. */
export function table({ caption, columns, rows, empty, foot, hideCaption = false, name = "" }) {
  if (!rows.length && empty) return h("p", { class: "quiet empty" }, empty);
  return h(
    "div",
    { class: `scroll ${name}`, tabindex: 0, role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: hideCaption ? "hidden" : null }, caption),
      h("thead", {}, h("tr", {}, columns.map(head))),
      h("tbody", {}, rows),
      foot ? h("tfoot", {}, foot) : null,
    ),
  );
}

function head(column) {
  const attributes = { scope: "col", class: column.number ? "number" : null };
  if (!column.onSort)
    return h("th", attributes, column.hidden ? h("span", { class: "hidden" }, column.text) : column.text);
  const sorted = column.sorted ? { "aria-sort": column.sorted } : {};
  return h(
    "th",
    { ...attributes, ...sorted },
    h("button", { type: "button", class: "sort", on: { click: column.onSort } }, column.text),
  );
}

/** A cell; number ones stand to the right. */
export const cell = (...children) => h("td", {}, ...children);
export const numberCell = (...children) => h("td", { class: "number" }, ...children);
export const rowHead = (...children) => h("th", { scope: "row" }, ...children);

/** Pairs of a name and what it is. */
export const facts = (pairs, name = "") =>
  h(
    "dl",
    { class: `facts ${name}` },
    pairs.filter(Boolean).map(([term, ...value]) => h("div", {}, h("dt", {}, term), h("dd", {}, ...value))),
  );

/** Large figures in a row. */
export const headline = (items) =>
  h(
    "dl",
    { class: "headline" },
    items
      .filter(Boolean)
      .map(({ name, value, more }) =>
        h(
          "div",
          {},
          h("dt", {}, name),
          h("dd", { class: "big" }, value),
          more ? h("dd", { class: "more" }, more) : null,
        ),
      ),
  );

/** A part of a view under a heading. */
export const section = (title, ...children) => h("section", {}, h("h2", {}, title), ...children);

export const hash = (value) =>
  value ? h("code", { title: value }, shortHash(value)) : h("span", { class: "quiet" }, "–");
export const transactionLink = (value) =>
  value
    ? h("a", { href: routes.transaction(value), title: value }, h("code", {}, shortHash(value)))
    : h("span", { class: "quiet" }, "–");
export const blockLink = (number) =>
  number === null || number === undefined
    ? h("span", { class: "quiet" }, "–")
    : link(routes.block(number), String(number));
export const actorLink = (name, day) => link(routes.actor(name, day), name);

/** Where a trade stands, with its confirmations while it is not final. */
export function stateMark(trade, confirmations) {
  const [word, meaning] = STATES[trade.state] ?? [trade.state, ""];
  const tells = [word];
  if (trade.state === "MINED" && trade.confirmations !== null)
    tells.push(h("span", { class: "quiet" }, ` ${Math.min(trade.confirmations, confirmations)} of ${confirmations}`));
  const title = `${meaning}${trade.refused_because ? ` ${trade.refused_because}` : ""}`;
  return h("span", { class: `state ${trade.state.toLowerCase()}`, title }, tells);
}

/** Trades as a table. without: names of columns to leave out. */
export function tradesTable(
  trades,
  { caption, market, money, empty, without = [], hideCaption = false, compact = false },
) {
  const columns = [
    {
      name: "slot",
      text: compact ? "Slot from" : "Slot",
      cell: (trade) =>
        cell(
          link(
            routes.slot(trade.slot),
            h(
              "span",
              {
                title: `slot ${trade.slot}, ${slotTime(trade.slot, market.slot_s)}, from ${utc(trade.slot * market.slot_s)}`,
              },
              compact ? slotStart(trade.slot, market.slot_s) : slotTime(trade.slot, market.slot_s),
            ),
          ),
        ),
    },
    { name: "seller", text: "Seller", cell: (trade) => cell(actorLink(trade.seller)) },
    {
      name: "buyer",
      text: "Buyer",
      cell: (trade) =>
        cell(
          actorLink(trade.buyer),
          trade.imbalance
            ? h("span", { class: "tag", title: "Traded with the grid after the slot had been cleared" }, "imbalance")
            : null,
        ),
    },
    { name: "energy", text: "kWh", number: true, cell: (trade) => numberCell(kwhFigure(trade.energy_wh)) },
    {
      name: "price",
      text: "Per kWh",
      number: true,
      cell: (trade) => numberCell(priceFigure(money, trade.price_wei_per_wh)),
    },
    {
      name: "amount",
      text: "Amount",
      number: true,
      cell: (trade) => numberCell(amountFigure(money, trade.amount_wei)),
    },
    {
      name: "state",
      text: "State",
      cell: (trade) =>
        cell(
          stateMark(trade, market.confirmations),
          trade.refused_because ? h("span", { class: "reason" }, trade.refused_because) : null,
        ),
    },
    { name: "confirmations", text: "Confirmations", number: true, cell: (trade) => numberCell(confirmed(trade)) },
    { name: "transaction", text: "Transaction", cell: (trade) => cell(transactionLink(trade.transaction)) },
    { name: "block", text: "Block", number: true, cell: (trade) => numberCell(blockLink(trade.block)) },
  ].filter((column) => !without.includes(column.name));
  const drawn = [
    ...columns.map((column) => column.text),
    money.currency,
    money.weiPerUnit,
    market.slot_s,
    market.confirmations,
  ].join();
  return table({
    caption,
    hideCaption,
    columns,
    empty,
    name: compact ? "trades compact" : "trades",
    rows: trades.map((trade) =>
      keep(signature(trade, drawn), "tr", { "data-key": `t${trade.id}` }, () =>
        columns.map((column) => column.cell(trade)),
      ),
    ),
  });
}

// Of a final trade nothing changes but how often it is confirmed, which goes on by itself.
const signature = (trade, drawn) =>
  JSON.stringify({ ...trade, confirmations: trade.state === "FINAL" ? null : trade.confirmations, drawn });

const confirmed = ({ state, block, confirmations }) =>
  state === "FINAL" && block !== null && confirmations !== null
    ? h("data", { value: confirmations, "data-block": block }, count(confirmations))
    : countFigure(confirmations);

/** Trades of one pair or more: how much energy passed between actors, the grid and the fee's legs left out; Wh. */
export const localWh = (trades, { grid, fee_account: fee }) =>
  trades
    .filter((trade) => ![trade.seller, trade.buyer].includes(grid) && trade.seller !== fee && !trade.imbalance)
    .reduce((sum, trade) => sum + trade.energy_wh, 0);

/** The sealer's name, else the short address. */
export const sealerName = (name, address) => (name ? h("span", { title: address }, name) : hash(address));
