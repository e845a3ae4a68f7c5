// SPDX-License-Identifier: GPL-3.0-or-later
// One transaction, and the trades that it settles.

import { get } from "./api.js";
import { h } from "./dom.js";
import { count, shortHash, utc } from "./format.js";
import { ago, blockLink, countFigure, facts, link, moment, section, stateWord, tradesTable } from "./parts.js";

const MOST_TRADES = 500;

export const title = ({ hash }) => `Transaction ${shortHash(hash)}`;
export const load = ({ hash }) => get(`transactions/${hash}`);

export function render({ data: transaction, overview: { market }, money }) {
  const { block } = transaction;
  return [
    h("p", { class: "crumb" }, link("#/trades", "Trades"), " / transaction"),
    h("h1", { tabindex: -1 }, "Transaction"),
    h("p", { class: "lead" }, h("code", { class: "address" }, transaction.hash)),
    facts([
      ["Outcome", outcome(transaction)],
      ["Block", blockLink(block)],
      [
        "Confirmations",
        countFigure(transaction.confirmations),
        transaction.confirmations !== null ? ` (${count(market.confirmations)} make it final)` : null,
      ],
      ["Sealed", transaction.time === null ? "not yet" : [moment(transaction.time), ", ", ago(transaction.time)]],
      ["UTC", transaction.time === null ? "–" : utc(transaction.time)],
      ["From", h("code", { class: "address" }, transaction.from ?? "–")],
      [
        "To",
        h("code", { class: "address" }, transaction.to ?? "–"),
        transaction.to?.toLowerCase() === market.address?.toLowerCase() ? " (the market)" : null,
      ],
      [
        "Batch",
        transaction.batch_seq === null
          ? "not one of this bridge's"
          : [String(transaction.batch_seq), transaction.batch_state ? `, ${stateWord(transaction.batch_state)}` : null],
      ],
      ["Gas used", countFigure(transaction.gas_used)],
      ["Block's hash", h("code", { class: "address" }, transaction.block_hash ?? "–")],
    ]),
    section(
      "Trades that it settles",
      tradesTable(transaction.trades, {
        caption: "Trades of this transaction",
        hideCaption: true,
        market,
        money,
        empty: "None of this bridge's trades is in it.",
        without: ["transaction", "block", "confirmations"],
      }),
      transaction.trades.length >= MOST_TRADES
        ? h("p", { class: "note" }, `These are the first ${count(MOST_TRADES)}.`)
        : null,
    ),
  ];
}

function outcome({ succeeded, block }) {
  if (succeeded === null || block === null) return h("span", { class: "state sent" }, "in no block yet");
  return succeeded
    ? h("span", { class: "state final" }, "succeeded")
    : h("span", { class: "state reverted" }, "reverted, without effect");
}
