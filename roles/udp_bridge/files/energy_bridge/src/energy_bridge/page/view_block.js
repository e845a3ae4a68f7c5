// SPDX-License-Identifier: GPL-3.0-or-later
// One block.

import { get } from "./api.js";
import { h } from "./dom.js";
import { count, plural, share, utc } from "./format.js";
import { ago, countFigure, facts, link, moment, routes, section, sealerName } from "./parts.js";

export const title = ({ number }) => (number === "latest" ? "Newest block" : `Block ${number}`);
export const load = ({ number }) => get(`blocks/${number}`);

export function render({ data: block, overview: { chain } }) {
  const last = chain.head_block !== null && block.number >= chain.head_block;
  return [
    h("p", { class: "crumb" }, link("#/chain", "Chain"), " / block"),
    h("h1", { tabindex: -1 }, `Block ${block.number}`),
    h(
      "nav",
      { class: "step", "aria-label": "Blocks before and after" },
      block.number > 0 ? link(routes.block(block.number - 1), `← ${block.number - 1}`) : h("span", {}),
      last
        ? h("span", { class: "quiet" }, "the newest")
        : link(routes.block(block.number + 1), `${block.number + 1} →`),
    ),
    facts([
      ["Sealed", moment(block.time), ", ", ago(block.time)],
      ["UTC", utc(block.time)],
      [
        "Sealer",
        block.sealer
          ? [sealerName(block.sealer_name, block.sealer), block.in_turn ? ", in turn" : ", out of turn"]
          : "–",
      ],
      block.sealer ? ["Sealer's address", h("code", { class: "address" }, block.sealer)] : null,
      ["Hash", h("code", { class: "address" }, block.hash)],
      [
        "Parent",
        block.number > 0
          ? h(
              "a",
              { href: routes.block(block.number - 1), class: "address" },
              h("code", { class: "address" }, block.parent_hash),
            )
          : h("code", { class: "address" }, block.parent_hash),
      ],
      [
        "Gas",
        countFigure(block.gas_used),
        ` of ${count(block.gas_limit)}${block.gas_limit ? ` (${share(block.gas_used / block.gas_limit)})` : ""}`,
      ],
    ]),
    section(
      plural(block.transactions.length, "transaction"),
      block.transactions.length
        ? h(
            "ul",
            { class: "hashes" },
            block.transactions.map((one) =>
              h("li", {}, h("a", { href: routes.transaction(one) }, h("code", { class: "address" }, one))),
            ),
          )
        : h("p", { class: "quiet empty" }, "The block is empty: it only says that the chain goes on."),
    ),
  ];
}
