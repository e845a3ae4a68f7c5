// SPDX-License-Identifier: GPL-3.0-or-later
// Plots as SVG. Each has a title and a description that say what it shows; its view has a table with the same figures.

import { h, s } from "./dom.js";
import { dayName, energy, kwh } from "./format.js";

const FONT = 12;
const LABEL_WIDTH = 6.4; // of a letter, in px, about
const TAG_LETTER_WIDTH = 7.2; // it is bold
const MOST_NAMED = 24;
const TARIFF_ROOM = 66; // beside the plot, for the names of the grid's prices

/** About `wanted` round steps from low to high, and the digits that they need. */
export function ticks(low, high, wanted) {
  const span = high - low || 1;
  const raw = span / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw * 0.999);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (Math.abs(step / power - 2.5) < 1e-6 ? 1 : 0));
  const values = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-6; n += 1) values.push(n * step);
  return { values, digits, step };
}

const round = (value) => Math.round(value * 100) / 100;
const text = (x, y, content, props = {}) => s("text", { x: round(x), y: round(y), ...props }, content);
const line = (x1, y1, x2, y2, name) =>
  s("line", { x1: round(x1), y1: round(y1), x2: round(x2), y2: round(y2), class: name });

function frame({ id, title, description, width, height, name }, ...children) {
  return s(
    "svg",
    {
      class: `plot ${name}`,
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: "img",
      "aria-labelledby": `${id}-title ${id}-desc`,
    },
    s("title", { id: `${id}-title` }, title),
    s("desc", { id: `${id}-desc` }, description),
    ...children,
  );
}

/** Offers as steps: [{actor, kind, from, to, price, energy_wh}], in Wh from 0 on. */
function steps(offers) {
  let at = 0;
  return offers.map((offer) => {
    const from = at;
    at += Math.abs(offer.energy_wh);
    return { ...offer, from, to: at };
  });
}

/** Supply by rising, demand by falling price; equal prices by name. */
export function merit(offers) {
  const byName = (a, b) => (a.actor < b.actor ? -1 : 1);
  const compare = (a, b) => {
    const [x, y] = [BigInt(a.price_wei_per_wh), BigInt(b.price_wei_per_wh)];
    return x < y ? -1 : x > y ? 1 : 0;
  };
  return {
    supply: steps(offers.filter((offer) => offer.energy_wh > 0).sort((a, b) => compare(a, b) || byName(a, b))),
    demand: steps(offers.filter((offer) => offer.energy_wh < 0).sort((a, b) => compare(b, a) || byName(a, b))),
  };
}

const said = (offers, money) =>
  offers
    .slice(0, MOST_NAMED)
    .map((offer) => `${offer.actor} ${energy(Math.abs(offer.energy_wh))} at ${money.price(offer.price_wei_per_wh)}`)
    .join("; ") + (offers.length > MOST_NAMED ? `; and ${offers.length - MOST_NAMED} more` : "");

/** The merit order of a slot. clearedWh: what was traded between actors; price: its average in wei per Wh, or null. */
export function meritOrder({ id, slot, clearedWh, averagePrice, money, width, height = 300, title }) {
  const { supply, demand } = merit(slot.offers);
  const tariffs = [
    ["grid sells", slot.grid_sells_wei_per_wh],
    ["grid buys", slot.grid_buys_wei_per_wh],
  ]
    .filter(([, price]) => price !== null)
    .map(([name, price]) => ({ name, price: money.plotted(price) }));
  const prices = [
    ...[...supply, ...demand].map((offer) => money.plotted(offer.price_wei_per_wh)),
    ...tariffs.map((tariff) => tariff.price),
    0,
  ];
  const most = Math.max(supply.at(-1)?.to ?? 0, demand.at(-1)?.to ?? 0, 1);
  const scaleY = ticks(Math.min(...prices), Math.max(...prices) * 1.08 || 1, 4);
  const low = Math.min(0, Math.floor(Math.min(...prices) / scaleY.step + 1e-9) * scaleY.step);
  const high = Math.max(Math.max(...prices) * 1.12, low + scaleY.step);
  const scaleX = ticks(0, most / 1000, width < 480 ? 4 : 6);
  const labels = scaleY.values.map((value) => money.tick(value, Math.max(scaleY.digits, money.digits)));
  const left = Math.max(...labels.map((label) => label.length)) * LABEL_WIDTH + 10;
  const right = tariffs.length ? TARIFF_ROOM : 14;
  const x = (wh) => left + (wh / most) * (width - left - right);
  const clearedText = clearedWh
    ? `${energy(clearedWh)} traded locally${averagePrice ? `, on average at ${averagePrice}` : ""}`
    : "nothing traded locally";
  const cleared = x(clearedWh);
  const unit = `price per kWh${money.isCode ? "" : `, ${money.currency}`}`;
  const tag = clearedWh ? `${kwh(clearedWh)} kWh traded locally` : null;
  const tagRoom = tag ? tag.length * TAG_LETTER_WIDTH + 6 : 0;
  const tagLeft = cleared + tagRoom > width - right;
  // Where there is no room beside the axis' name, the tag stands below it.
  const tagBegins = tagLeft ? cleared - tagRoom : cleared;
  const isBelow = tag !== null && tagBegins < 2 + unit.length * LABEL_WIDTH + 8;
  const [top, bottom] = [isBelow ? 42 : 26, 40];
  const y = (price) => top + ((high - price) / (high - low)) * (height - top - bottom);
  const zero = y(0);
  const gap = (offers) => (offers.length > 60 ? 0 : 1);

  const block = (offer) => {
    const at = y(money.plotted(offer.price_wei_per_wh));
    const [x1, x2] = [x(offer.from), x(offer.to)];
    return s(
      "rect",
      {
        class: `block ${offer.kind.toLowerCase()}`,
        x: round(x1 + gap(supply) / 2),
        width: round(Math.max(0.5, x2 - x1 - gap(supply))),
        y: round(Math.min(at, zero)),
        height: round(Math.max(1.5, Math.abs(zero - at))),
      },
      s("title", {}, `${offer.actor}: ${energy(offer.energy_wh)} at ${money.price(offer.price_wei_per_wh)}`),
    );
  };
  const path = (offers) =>
    offers
      .map(
        (offer, n) =>
          `${n ? "L" : "M"}${round(x(offer.from))} ${round(y(money.plotted(offer.price_wei_per_wh)))}H${round(x(offer.to))}`,
      )
      .join("");
  const end = (offers) => (offers.length ? `V${round(zero)}` : "");
  const named = (offers, above) =>
    offers
      .filter((offer) => x(offer.to) - x(offer.from) > offer.actor.length * LABEL_WIDTH + 8)
      .map((offer) =>
        text(
          (x(offer.from) + x(offer.to)) / 2,
          y(money.plotted(offer.price_wei_per_wh)) + (above ? -6 : money.plotted(offer.price_wei_per_wh) < 0 ? -6 : 15),
          offer.actor,
          { class: above ? "name demand-name" : "name", "text-anchor": "middle" },
        ),
      );

  return frame(
    {
      id,
      title,
      width,
      height,
      name: "merit",
      description:
        `${supply.length ? `Supply by rising price: ${said(supply, money)}.` : "Nobody offered energy."} ` +
        `${demand.length ? `Demand by falling limit: ${said(demand, money)}.` : "Nobody needed energy."} ${clearedText[0].toUpperCase()}${clearedText.slice(1)}.`,
    },
    scaleY.values.map((value, n) =>
      s(
        "g",
        {},
        line(left, y(value), width - right, y(value), Math.abs(value) < 1e-12 ? "axis" : "rule"),
        text(left - 8, y(value) + 4, labels[n], { "text-anchor": "end", class: "tick" }),
      ),
    ),
    scaleX.values.map((value) =>
      text(x(value * 1000), height - bottom + 17, value.toFixed(scaleX.digits), {
        "text-anchor": "middle",
        class: "tick",
      }),
    ),
    text(width - right, height - 5, "energy, kWh", { "text-anchor": "end", class: "tick" }),
    text(2, 12, unit, { class: "tick" }),
    supply.map(block),
    supply.length ? s("path", { class: "supply", d: path(supply) + end(supply) }) : null,
    tariffs.map((tariff) => line(left, y(tariff.price), width - right, y(tariff.price), "tariff")),
    tariffLabels(tariffs, y, width - right + 7),
    demand.length ? s("path", { class: "demand", d: path(demand) + end(demand) }) : null,
    supply.length <= MOST_NAMED
      ? named(
          supply.filter((offer) => Math.abs(y(money.plotted(offer.price_wei_per_wh)) - zero) > 20),
          false,
        )
      : null,
    demand.length <= MOST_NAMED ? named(demand, true) : null,
    clearedWh ? line(cleared, top - 6, cleared, height - bottom, "cleared") : null,
    tag
      ? text(cleared + (tagLeft ? -6 : 6), top - 8, tag, { class: "tag", "text-anchor": tagLeft ? "end" : "start" })
      : null,
  );
}

function tariffLabels(tariffs, y, right) {
  const together = tariffs.length === 2 && Math.abs(y(tariffs[0].price) - y(tariffs[1].price)) < FONT + 4;
  if (together) return [text(right, (y(tariffs[0].price) + y(tariffs[1].price)) / 2 + 4, "grid", { class: "tick" })];
  return tariffs.map((tariff) => text(right, y(tariff.price) + 4, tariff.name, { class: "tick" }));
}

/** What the colours of the merit order mean. */
export const meritLegend = (offers) =>
  h(
    "ul",
    { class: "legend", "aria-hidden": "true" },
    [...new Set(offers.filter((offer) => offer.energy_wh > 0).map((offer) => offer.kind))].map((kind) =>
      h("li", {}, swatch(`block ${kind.toLowerCase()}`), `${kind} offers`),
    ),
    offers.some((offer) => offer.energy_wh < 0) ? h("li", {}, swatch("demand", true), "demand") : null,
  );

const swatch = (name, isLine = false) =>
  s(
    "svg",
    { viewBox: "0 0 14 10", width: 14, height: 10, class: "plot" },
    isLine ? s("path", { class: name, d: "M0 5H14" }) : s("rect", { class: name, width: 14, height: 10, rx: 2 }),
  );

/** Bars per day, oldest left: sold up, bought down. days: newest first; chosen: the day that is marked. */
export function dayBars({ id, days, chosen, width, height = 190, title }) {
  const shown = [...days].reverse();
  const up = Math.max(...shown.map((day) => day.sold_wh), 0) / 1000;
  const down = Math.max(...shown.map((day) => day.bought_wh), 0) / 1000;
  const scale = ticks(-down, up || (down ? 0 : 1), 4);
  const labels = scale.values.map((value) => Math.abs(value).toFixed(scale.digits));
  const left = Math.max(...labels.map((label) => label.length)) * LABEL_WIDTH + 12;
  const [right, top, bottom] = [6, 22, 24];
  const high = Math.max(up, scale.values.at(-1) ?? 0, scale.step * 0.2);
  const low = Math.max(down, -(scale.values[0] ?? 0), scale.step * 0.2);
  const y = (value) => top + ((high - value) / (high + low)) * (height - top - bottom);
  const slotWidth = Math.min(64, (width - left - right) / shown.length);
  const bar = Math.max(2, slotWidth * 0.62);
  const every = Math.ceil(52 / slotWidth);
  const barOf = (value, n, name) =>
    value &&
    s("rect", {
      class: name,
      x: round(left + n * slotWidth + (slotWidth - bar) / 2),
      width: round(bar),
      rx: 1.5,
      y: round(Math.min(y(value), y(0))),
      height: round(Math.max(1, Math.abs(y(value) - y(0)))),
    });
  return frame(
    {
      id,
      title,
      width,
      height,
      name: "days",
      description:
        days
          .map((day) => `${dayName(day.day)}: sold ${energy(day.sold_wh)}, bought ${energy(day.bought_wh)}`)
          .join("; ") || "No trades yet.",
    },
    scale.values.map((value, n) =>
      s(
        "g",
        {},
        line(left, y(value), width - right, y(value), Math.abs(value) < 1e-12 ? "axis" : "rule"),
        text(left - 8, y(value) + 4, labels[n], { "text-anchor": "end", class: "tick" }),
      ),
    ),
    text(2, 12, "kWh: sold above, bought below", { class: "tick" }),
    shown.map((day, n) =>
      s(
        "g",
        { class: day.day === chosen ? "chosen" : "other" },
        s("title", {}, `${dayName(day.day)}: sold ${energy(day.sold_wh)}, bought ${energy(day.bought_wh)}`),
        barOf(day.sold_wh / 1000, n, "sold"),
        barOf(-day.bought_wh / 1000, n, "bought"),
        (shown.length - 1 - n) % every === 0
          ? text(left + (n + 0.5) * slotWidth, height - 6, dayName(day.day, true), {
              class: "tick",
              "text-anchor": "middle",
            })
          : null,
      ),
    ),
  );
}
