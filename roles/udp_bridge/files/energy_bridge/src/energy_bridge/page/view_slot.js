// SPDX-License-Identifier: GPL-3.0-or-later
// One slot, and the list of them.

import { get } from "./api.js";
import { h } from "./dom.js";
import { count, energy, plural, slotDate, slotTime } from "./format.js";
import {
  KINDS,
  actorLink,
  cell,
  facts,
  figure,
  kwhFigure,
  link,
  localWh,
  moment,
  numberCell,
  priceFigure,
  routes,
  rowHead,
  section,
  table,
  tradesTable,
} from "./parts.js";
import { merit, meritLegend } from "./plot.js";
import { slotPlot } from "./view_overview.js";

const LISTED = 50;

export const title = ({ slot }, market) =>
  slot === undefined ? "Slots" : market ? `Slot ${slotTime(slot, market.slot_s)}` : `Slot ${slot}`;

export async function load({ slot, before }) {
  if (slot === undefined) return get("slots", { limit: LISTED, before });
  const [one, next] = await Promise.all([get(`slots/${slot}`), get("slots", { before: slot + 2, limit: 3 })]);
  const around = next.slots.map((other) => other.slot);
  return {
    ...one,
    later: around.filter((other) => other > slot).at(-1) ?? null,
    earlier: around.filter((other) => other < slot)[0] ?? null,
  };
}

export function render(view) {
  return view.parameters.slot === undefined ? list(view) : one(view);
}

function list({ data, overview: { market }, parameters }) {
  return [
    h("h1", { tabindex: -1 }, "Slots"),
    h(
      "p",
      { class: "lead" },
      `A slot is ${market.slot_s % 60 ? `${count(market.slot_s)} seconds` : plural(market.slot_s / 60, "minute")} of energy. Each is cleared once, by the method ${market.method.replaceAll("_", " ")}.`,
    ),
    table({
      caption: "Slots, newest first",
      hideCaption: true,
      empty: "There is no slot yet.",
      columns: [
        { text: "Slot" },
        { text: "Closed" },
        { text: "Trades", number: true },
        { text: "Who had not reported" },
      ],
      rows: data.slots.map((slot) =>
        h(
          "tr",
          { "data-key": `s-${slot.slot}` },
          rowHead(link(routes.slot(slot.slot), slotTime(slot.slot, market.slot_s))),
          cell(slot.closed_at === null ? h("span", { class: "state waiting" }, "open") : moment(slot.closed_at)),
          numberCell(figure(slot.traded, count(slot.traded))),
          cell(slot.refusal ?? names(slot.missing)),
        ),
      ),
    }),
    data.next !== null || parameters.before
      ? h(
          "p",
          { class: "further" },
          parameters.before ? [link("#/slots", "Newest"), " "] : null,
          data.next !== null ? link(`#/slots?before=${data.next}`, "Older slots") : null,
        )
      : null,
  ];
}

const names = (missing) =>
  missing === null ? h("span", { class: "quiet" }, "–") : missing.length ? missing.join(", ") : "nobody";

function one({ data: slot, overview: { market }, width, money }) {
  const local = localWh(slot.trades, market);
  const { supply, demand } = merit(slot.offers);
  return [
    h("p", { class: "crumb" }, link("#/slots", "Slots"), ` / slot ${slot.slot}`),
    h(
      "h1",
      { tabindex: -1 },
      slotTime(slot.slot, market.slot_s, false),
      h("span", { class: "kind" }, slotDate(slot.slot, market.slot_s)),
    ),
    h(
      "nav",
      { class: "step", "aria-label": "Slots before and after" },
      slot.earlier === null
        ? h("span", {})
        : link(routes.slot(slot.earlier), `← ${slotTime(slot.earlier, market.slot_s, false)}`),
      slot.later === null
        ? h("span", {})
        : link(routes.slot(slot.later), `${slotTime(slot.later, market.slot_s, false)} →`),
    ),
    slot.refusal ? h("p", { class: "inline bad" }, slot.refusal) : null,
    facts(
      [
        ["Closed", slot.closed_at === null ? "it is open still" : moment(slot.closed_at)],
        ["First reading", moment(slot.first_at)],
        ["Traded between neighbours", figure(local, energy(local))],
        ["Had not reported", names(slot.missing)],
        ["Grid sells at", priceFigure(money, slot.grid_sells_wei_per_wh)],
        ["Grid buys at", priceFigure(money, slot.grid_buys_wei_per_wh)],
      ],
      "across",
    ),
    slot.offers.length
      ? section(
          "Merit order",
          slotPlot(slot, { id: "slot", market, money, width }),
          meritLegend(slot.offers),
          h(
            "details",
            { class: "figures" },
            h("summary", {}, "The same as a table"),
            offers("Offered, by rising price", supply, money),
            offers("Needed, by falling limit", demand, money),
          ),
        )
      : section(
          "Merit order",
          h(
            "p",
            { class: "quiet empty" },
            slot.closed_at === null ? "It is drawn when the slot has closed." : "Nobody offered or needed energy.",
          ),
        ),
    section(
      "Trades",
      tradesTable(slot.trades, {
        caption: "Trades of this slot",
        hideCaption: true,
        market,
        money,
        empty: "There is no trade.",
        without: ["slot"],
      }),
      slot.trades.length >= 500
        ? h("p", { class: "further" }, link(routes.trades({ slot: slot.slot }), "All trades of this slot"))
        : null,
    ),
  ];
}

function offers(caption, steps, money) {
  return table({
    caption,
    empty: `${caption.split(",")[0]}: nothing.`,
    columns: [
      { text: "Actor" },
      { text: "Kind" },
      { text: "kWh", number: true },
      { text: "Sum, kWh", number: true },
      { text: "Per kWh", number: true },
    ],
    rows: steps.map((offer) =>
      h(
        "tr",
        { "data-key": `o-${offer.actor}` },
        rowHead(actorLink(offer.actor)),
        cell(KINDS[offer.kind] ?? offer.kind),
        numberCell(kwhFigure(Math.abs(offer.energy_wh))),
        numberCell(kwhFigure(offer.to)),
        numberCell(priceFigure(money, offer.price_wei_per_wh)),
      ),
    ),
  });
}
