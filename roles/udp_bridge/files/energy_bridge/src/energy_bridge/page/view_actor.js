// SPDX-License-Identifier: GPL-3.0-or-later
// One actor: its days, and the statement of one.

import { get } from "./api.js";
import { h } from "./dom.js";
import { count, dayName, share } from "./format.js";
import {
  KINDS,
  actorLink,
  energyFigure,
  facts,
  figure,
  headline,
  kwhFigure,
  link,
  meter,
  net,
  numberCell,
  routes,
  rowHead,
  section,
  sumFigure,
  amountFigure,
  table,
  tradesTable,
} from "./parts.js";
import { dayBars } from "./plot.js";
import { savedCell } from "./view_overview.js";

const DRAWN_DAYS = 31;
const MOST_TRADES = 500;

export const title = ({ name, day }) => (day ? `${name}, ${dayName(day)}` : name);

export async function load({ name, day }, overview) {
  const days = (await get("days", { actor: name })).days;
  const chosen = day ?? days[0]?.day ?? new Date(overview.now * 1000).toISOString().slice(0, 10);
  const [statement, trades] = await Promise.all([
    get(`actors/${encodeURIComponent(name)}/statement`, { day: chosen }),
    get("trades", { actor: name, day: chosen, limit: MOST_TRADES }),
  ]);
  return { days, chosen, statement, trades };
}

export function render({ data, overview, parameters, width, money }) {
  const { market } = overview;
  const { name } = parameters;
  const whole = overview.actors.find((actor) => actor.name === name);
  const { days, chosen, statement, trades } = data;
  const isGrid = name === market.grid;
  const choose = (event) => {
    location.hash = routes.actor(name, event.target.value);
  };
  const at = days.findIndex((day) => day.day === chosen);
  const options = at < 0 ? [{ day: chosen }, ...days] : days;
  return [
    h("p", { class: "crumb" }, link("#/", "Overview"), " / actor"),
    h("h1", { tabindex: -1 }, name, h("span", { class: "kind" }, KINDS[statement.kind] ?? statement.kind)),
    h("p", { class: "lead" }, h("code", { class: "address" }, statement.address)),
    whole
      ? headline([
          { name: "Balance", value: sumFigure(money, whole.balance_wei), more: "on the market" },
          { name: "Sold", value: energyFigure(whole.sold_wh), more: [`for ${money.sum(whole.received_wei)}`] },
          { name: "Bought", value: energyFigure(whole.bought_wh), more: [`for ${money.sum(whole.paid_wei)}`] },
          isGrid ? null : { name: "Against the grid alone", value: savedCell(whole, money), more: "on all days" },
        ])
      : null,
    section(
      "Days",
      days.length
        ? dayBars({
            id: "days",
            days: days.slice(0, DRAWN_DAYS),
            chosen,
            width,
            title: `What ${name} sold and bought on ${days.length > DRAWN_DAYS ? `its last ${DRAWN_DAYS} days` : "each day"}`,
          })
        : h("p", { class: "quiet empty" }, "It has not traded yet."),
      days.length
        ? h(
            "details",
            { class: "figures" },
            h("summary", {}, "The same as a table"),
            daysTable(days, name, chosen, money, isGrid),
          )
        : null,
    ),
    h(
      "section",
      { class: "statement" },
      h(
        "div",
        { class: "heading" },
        h("h2", {}, `Statement of ${dayName(chosen)}`),
        h(
          "form",
          { class: "days", on: { submit: (event) => event.preventDefault() } },
          at >= 0 && days[at + 1] ? link(routes.actor(name, days[at + 1].day), "← day before") : null,
          h(
            "label",
            {},
            h("span", { class: "hidden" }, "Day"),
            h(
              "select",
              { id: "day", on: { change: choose }, value: chosen },
              options.map(({ day }) => h("option", { value: day }, dayName(day))),
            ),
          ),
          at > 0 ? link(routes.actor(name, days[at - 1].day), "day after →") : null,
        ),
      ),
      facts(
        [
          ["Sold", energyFigure(statement.sold_wh), " for ", sumFigure(money, statement.received_wei)],
          ["Bought", energyFigure(statement.bought_wh), " for ", sumFigure(money, statement.paid_wei)],
          ["Balance of the day", sumFigure(money, net(statement), true)],
          isGrid ? null : ["With the grid alone", sumFigure(money, statement.grid_only_wei, true)],
          isGrid ? null : ["Difference", savedCell(statement, money)],
          isGrid ? null : ["Self-consumption", shareOf(statement.self_consumption)],
          isGrid ? null : ["Self-sufficiency", shareOf(statement.self_sufficiency)],
        ],
        "across",
      ),
      counterparties(statement, chosen, money),
      tradesTable(trades.trades, {
        caption: `Each trade of ${dayName(chosen)}`,
        market,
        money,
        empty: null,
        without: ["confirmations", "block"],
      }),
      trades.next !== null
        ? h(
            "p",
            { class: "further" },
            `These are the newest ${count(trades.trades.length)}. `,
            link(routes.trades({ actor: name, day: chosen, before: trades.next }), "Older ones"),
          )
        : null,
      h(
        "p",
        { class: "note" },
        "Days are UTC's. A statement counts trades that are in the chain; times are this device's.",
      ),
    ),
  ];
}

const shareOf = (value) =>
  value === null ? "–" : h("span", { class: "share" }, figure(value, share(value)), meter(value));

function daysTable(days, name, chosen, money, isGrid) {
  return table({
    caption: `What ${name} traded, by day`,
    hideCaption: true,
    columns: [
      { text: "Day" },
      { text: "Sold, kWh", number: true },
      { text: "Bought, kWh", number: true },
      { text: "Balance of the day", number: true },
      ...(isGrid
        ? []
        : [
            { text: "Against grid only", number: true },
            { text: "Self-consumption", number: true },
            { text: "Self-sufficiency", number: true },
          ]),
    ],
    rows: days.map((day) =>
      h(
        "tr",
        { "data-key": `d-${day.day}`, "aria-current": day.day === chosen ? "true" : null },
        rowHead(link(routes.actor(name, day.day), dayName(day.day))),
        numberCell(kwhFigure(day.sold_wh)),
        numberCell(kwhFigure(day.bought_wh)),
        numberCell(sumFigure(money, net(day), true)),
        isGrid
          ? []
          : [
              numberCell(savedCell(day, money)),
              numberCell(figure(day.self_consumption, share(day.self_consumption))),
              numberCell(figure(day.self_sufficiency, share(day.self_sufficiency))),
            ],
      ),
    ),
  });
}

function counterparties({ counterparties: all, actor }, day, money) {
  const lines = all
    .flatMap((other) => [
      other.sold_wh ? { other, way: "sold to", wh: other.sold_wh, wei: BigInt(other.received_wei) } : null,
      other.bought_wh
        ? { other, way: "bought from", wh: other.bought_wh, wei: BigInt(other.paid_wei), pays: true }
        : null,
    ])
    .filter(Boolean);
  return table({
    caption: "By counterparty",
    empty: `${actor} traded nothing on this day.`,
    columns: [
      { text: "Counterparty" },
      { text: "kWh", number: true },
      { text: "Average per kWh", number: true },
      { text: "Amount", number: true },
      { text: "Trades with it", number: true },
    ],
    rows: lines.map(({ other, way, wh, wei, pays }) =>
      h(
        "tr",
        { "data-key": `c-${way}-${other.name}` },
        rowHead(h("span", { class: "way" }, `${way} `), actorLink(other.name, day)),
        numberCell(kwhFigure(wh)),
        numberCell(money.averagePrice(wei, wh)),
        numberCell(amountFigure(money, pays ? -wei : wei)),
        numberCell(count(other.trades)),
      ),
    ),
  });
}
