// SPDX-License-Identifier: GPL-3.0-or-later
// What is wrong, or not as new as it seems, in sentences. Pure.

import { clockTime, dateTime, duration } from "./format.js";

const JUST_STARTED_S = 60;
const STALE_S = 20;
const STALE_PERIODS = 4;
const PARTS = {
  chain: ["The chain was last read", "the chain"],
  market: ["Readings and trades were last read", "them"],
};

/**
 * [{key, level: "bad" | "note", text, since}] of the overview (or null) and the connection; now is the bridge's time,
 * browserNow the browser's, in s since the epoch, ahead what the bridge's clock is ahead where that is too much, else 0.
 * since, where it is there, is an age that grows while the sentence stands.
 */
export function troubles(overview, connection, { now, browserNow, ahead }) {
  const found = [];
  if (connection.lostSince !== null) {
    const s = Math.max(0, browserNow - connection.lostSince);
    found.push({
      key: "lost",
      level: "bad",
      before: "The bridge does not answer since ",
      age: duration(s),
      after: overview ? `; these figures are from ${clockTime(connection.lostSince)}.` : "; there are no figures yet.",
    });
  }
  if (connection.trouble !== null) found.push({ key: "trouble", level: "bad", before: connection.trouble });
  if (overview) {
    for (const text of overview.health.problems)
      found.push({ key: text.replace(/[\d.,]+/g, "#"), level: "bad", before: text });
    if (connection.restartedAt !== null || now - overview.started < JUST_STARTED_S) {
      found.push({
        key: `started ${overview.started}`,
        level: "note",
        before:
          `The bridge ${connection.restartedAt === null ? "was started" : "was restarted"} at ${clockTime(overview.started)}; ` +
          "what it counts (received, rejected, lost) began anew then. What was stored is still there.",
      });
    }
    if (connection.lostSince === null) found.push(...stale(overview, now));
    for (const text of overview.health.notes)
      found.push({ key: text.replace(/[\d.,]+/g, "#"), level: "note", before: text });
  }
  if (ahead) {
    found.push({
      key: "clock",
      level: "note",
      before:
        `This device's clock is ${duration(Math.round(Math.abs(ahead)))} ${ahead < 0 ? "ahead of" : "behind"} the bridge's. ` +
        "Ages on this page are by the bridge's clock.",
    });
  }
  return found;
}

function stale(overview, now) {
  const most = Math.max(STALE_S, STALE_PERIODS * overview.market.period_s);
  return Object.keys(PARTS)
    .filter((part) => overview.as_of[part] !== null && now - overview.as_of[part] > most)
    .map((part) => ({
      key: `stale ${part}`,
      level: "note",
      before: `${PARTS[part][0]} at ${now - overview.as_of[part] < 86_400 / 2 ? clockTime(overview.as_of[part]) : dateTime(overview.as_of[part])}, `,
      age: duration(now - overview.as_of[part]),
      after: ` ago; what is shown of ${PARTS[part][1]} is from then.`,
    }));
}

/** Whether balances are older than they should be. */
export const balancesAreOld = (overview, now) =>
  overview.as_of.balances !== null &&
  now - overview.as_of.balances > Math.max(STALE_S, STALE_PERIODS * overview.market.period_s);
