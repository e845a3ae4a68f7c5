// SPDX-License-Identifier: GPL-3.0-or-later
// The chain's sealers, and what the bridge counts.

import { h } from "./dom.js";
import { count, share } from "./format.js";
import {
  ago,
  blockLink,
  cell,
  countFigure,
  facts,
  figure,
  headline,
  link,
  meter,
  moment,
  numberCell,
  routes,
  rowHead,
  section,
  sealerName,
  stateWord,
  table,
} from "./parts.js";

export const title = () => "Chain";
export const load = async () => ({});

const REASONS = {
  stranger: "from an address that may not send",
  unproven: "unknown source, wrong signature, or no reading at all",
  invalid: "a mistake in a known source's reading",
  time: "too old, too early or too far ahead",
};
const FATES = {
  stored: "stored",
  open: "in a slot that is open",
  counted: "counted in a clearing",
  superseded: "superseded by a later one",
  late: "late, not traded yet",
  imbalance: "late, traded with the grid",
};
const FLOW = ["BATCHED", "SIGNED", "SENT", "MINED", "FINAL", "REVERTED", "REFUSED"];

export function render({ overview }) {
  const { chain, bridge, market, as_of: asOf } = overview;
  const rejected = Object.values(bridge.rejected).reduce((a, b) => a + b, 0);
  const onTime = chain.block_time_s !== null && chain.block_time_s <= market.period_s * 1.2;
  return [
    h("h1", { tabindex: -1 }, "Chain and bridge"),
    headline([
      { name: "Newest block", value: blockLink(chain.head_block), more: ["sealed ", ago(chain.head_time)] },
      {
        name: "Block time",
        value: chain.block_time_s === null ? "–" : figure(chain.block_time_s, `${count(chain.block_time_s)}\u00a0s`),
        more: `${onTime || chain.block_time_s === null ? "" : "slower than meant: "}${count(market.period_s)} s are meant`,
      },
      {
        name: "Outbox",
        value: countFigure(bridge.outbox_trades),
        more: bridge.outbox_trades ? "trades not final yet" : "every trade is settled",
      },
      {
        name: "Oldest unsettled",
        value: bridge.outbox_age_s ? ago(overview.now - bridge.outbox_age_s, "") : "none",
        more: bridge.outbox_age_s ? "since its slot closed" : null,
      },
    ]),
    section(
      "Sealers",
      table({
        caption: `Sealers in the last ${count(chain.window_blocks)} blocks`,
        empty: "Who seals is not known: the node does not say.",
        name: "sealers-table",
        columns: [
          { text: "Sealer" },
          { text: "Last sealed" },
          { text: "Block", number: true },
          { text: "Sealed", number: true },
          { text: "In turn", number: true },
          { text: "Address" },
        ],
        rows: chain.sealers.map((sealer) =>
          h(
            "tr",
            { "data-key": sealer.address, class: sealer.sealed ? null : "silent" },
            rowHead(sealerName(sealer.name, sealer.address)),
            cell(sealer.last_time === null ? `none of the last ${count(chain.window_blocks)}` : ago(sealer.last_time)),
            numberCell(blockLink(sealer.last_block)),
            numberCell(countFigure(sealer.sealed)),
            numberCell(
              sealer.sealed
                ? h(
                    "span",
                    { class: "share" },
                    meter(sealer.in_turn / sealer.sealed),
                    figure(sealer.in_turn / sealer.sealed, share(sealer.in_turn / sealer.sealed)),
                  )
                : h("span", { class: "quiet" }, "–"),
            ),
            cell(h("code", {}, sealer.address)),
          ),
        ),
      }),
    ),
    h(
      "div",
      { class: "thirds" },
      section(
        "What came in",
        counts("Datagrams since the bridge's start", [
          ["received", bridge.received],
          ["new readings stored", bridge.accepted],
          ["duplicates, stored before", bridge.repeated],
          ["in conflict with a stored one", bridge.conflicts, true],
          ["rejected", rejected, true],
          ...Object.entries(bridge.rejected).map(([reason, value]) => [REASONS[reason] ?? reason, value, true, reason]),
          ["lost: gaps in a source's count", bridge.gaps, true],
          ["lost: dropped, too many at once", bridge.dropped, true],
          ["waiting now", bridge.queue_length],
        ]),
      ),
      section(
        "What became of it",
        counts("Readings, and the trades made of them", [
          ...Object.keys(bridge.readings).map((fate) => [
            `readings ${FATES[fate] ?? fate}`,
            bridge.readings[fate],
            fate === "late",
          ]),
          ["slots open", bridge.open_slots],
          ["trades made", bridge.trades.made],
          ["trades settled", bridge.trades.settled],
          ["trades refused", bridge.trades.refused, true],
          ["imbalances among them", bridge.trades.imbalances],
        ]),
      ),
      section(
        "On the way to the chain",
        counts(
          "Batches by state",
          FLOW.filter((state) => state in bridge.batches).map((state) => [
            stateWord(state),
            bridge.batches[state],
            state === "REFUSED" || state === "REVERTED",
          ]),
        ),
      ),
    ),
    section(
      "This market",
      facts([
        ["Contract", h("code", { class: "address" }, market.address ?? "–")],
        ["Chain id", String(market.chain_id)],
        ["Settled as", market.mode === "agreement" ? "an agreement per trade" : "batches of the market"],
        ["Cleared by", market.method.replaceAll("_", " ")],
        ["Final after", `${count(market.confirmations)} confirmations`],
        market.fee_account ? ["Fee account", link(routes.actor(market.fee_account), market.fee_account)] : null,
        ["Currency", `${market.currency}: 1 = ${count(BigInt(market.wei_per_unit))} wei`],
        ["Bridge started", moment(overview.started), ", ", ago(overview.started)],
        ["Chain read", ago(asOf.chain)],
        ["Readings and trades read", ago(asOf.market)],
        ["Balances read", ago(asOf.balances)],
      ]),
    ),
  ];
}

const counts = (caption, rows) =>
  table({
    caption,
    hideCaption: false,
    name: "counts",
    columns: [
      { text: "What", hidden: true },
      { text: "How many", hidden: true, number: true },
    ],
    rows: rows.map(([name, value, bad, part]) =>
      h(
        "tr",
        { class: [part ? "part" : "", bad && value ? "warn" : ""].join(" ").trim() || null },
        rowHead(name),
        numberCell(countFigure(value ?? 0)),
      ),
    ),
  });
