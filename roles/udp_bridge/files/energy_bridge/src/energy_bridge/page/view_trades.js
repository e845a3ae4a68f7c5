// SPDX-License-Identifier: GPL-3.0-or-later
// All trades, by actor and state.

import { get } from "./api.js";
import { h } from "./dom.js";
import { count, dayName, plural, slotTime } from "./format.js";
import { STATE_NAMES, link, routes, stateWord, tradesTable } from "./parts.js";

const FIRST = 50;
const MORE = 150;
const MOST = 500;
const shown = { filter: "", limit: FIRST };

export const title = () => "Trades";

export async function load(parameters) {
  const filter = JSON.stringify(parameters);
  if (shown.filter !== filter) Object.assign(shown, { filter, limit: FIRST });
  const { actor, state, slot, day, before } = parameters;
  return { ...(await get("trades", { actor, state, slot, day, before, limit: shown.limit })), limit: shown.limit };
}

export function render({ data, overview, parameters, money, reload }) {
  const { market } = overview;
  const { before: _, ...kept } = parameters;
  const go = (name) => (event) => {
    location.hash = routes.trades({ ...kept, [name]: event.target.value });
  };
  const option = (value, words = value) => h("option", { value }, words);
  const narrowed = [
    parameters.slot !== undefined ? ["slot", `slot ${slotTime(parameters.slot, market.slot_s)}`] : null,
    parameters.day ? ["day", dayName(parameters.day)] : null,
  ].filter(Boolean);
  const more = () => {
    shown.limit = Math.min(MOST, shown.limit + MORE);
    reload();
  };
  return [
    h("h1", { tabindex: -1 }, "Trades"),
    h(
      "form",
      { class: "filters", on: { submit: (event) => event.preventDefault() } },
      h(
        "label",
        {},
        h("span", {}, "Actor"),
        h(
          "select",
          { id: "by-actor", on: { change: go("actor") }, value: parameters.actor ?? "" },
          option("", "all"),
          overview.actors.map((actor) => option(actor.name)),
        ),
      ),
      h(
        "label",
        {},
        h("span", {}, "State"),
        h(
          "select",
          { id: "by-state", on: { change: go("state") }, value: parameters.state ?? "" },
          option("", "all"),
          STATE_NAMES.map((state) => option(state, stateWord(state))),
        ),
      ),
      narrowed.map(([name, words]) =>
        h("p", { class: "narrowed" }, words, " ", link(routes.trades({ ...kept, [name]: null }), "all")),
      ),
    ),
    tradesTable(data.trades, {
      caption: "Trades, newest first",
      hideCaption: true,
      market,
      money,
      empty: "There is no such trade.",
    }),
    h(
      "p",
      { class: "further" },
      data.trades.length ? h("span", { class: "quiet" }, `${plural(data.trades.length, "trade")} shown. `) : null,
      parameters.before ? [link(routes.trades(kept), "Newest"), " "] : null,
      data.next === null
        ? null
        : data.limit < MOST
          ? h("button", { type: "button", on: { click: more } }, "More")
          : link(routes.trades({ ...kept, before: data.next }), `Older than these ${count(data.trades.length)}`),
    ),
  ];
}
