// SPDX-License-Identifier: GPL-3.0-or-later
// The bridge's clock as this browser knows it. All ages on the page are by the bridge's clock. Seconds since the epoch.

const KEPT = 5;
const DIFFERS_S = 5;
const STEPPED_S = 30;

const browser = () => Date.now() / 1000;

let fresh = []; // bridge's less browser's clock when an event told of a change just made; each can only be too small
let coarse = null; // the same by the answers' Date header, to a second
let atLeast = null; // what a document's own time proves, however old it is

/** An event that told of a change: its time is the bridge's time now. */
export function eventAt(now) {
  if (!Number.isFinite(now)) return;
  const found = now - browser();
  if (fresh.length && found < Math.max(...fresh) - STEPPED_S) fresh = []; // no event is that late: a clock was set
  fresh = [...fresh.slice(1 - KEPT), found];
}

/** The stream of events broke: what comes first on the next one may be old. */
export function forgetEvents() {
  fresh = [];
}

/** An answer's Date header, and the time that the document in it names. */
export function answerAt(date, now, askedAt) {
  const parsed = date === null ? NaN : Date.parse(date) / 1000;
  coarse = Number.isFinite(parsed) ? parsed + 0.5 - (askedAt + browser()) / 2 : null;
  if (Number.isFinite(now)) atLeast = now - browser();
}

/** Seconds that the bridge's clock is ahead of the browser's. */
export function ahead() {
  if (fresh.length) return Math.max(...fresh);
  if (coarse !== null) return Math.max(coarse, atLeast ?? coarse);
  return atLeast ?? 0;
}

/** The bridge's time now; the browser's, as long as they hardly differ. */
export const bridgeNow = () => browser() + (Math.abs(ahead()) > 1 ? ahead() : 0);

/** Seconds by which the clocks differ, where that is worth saying; else 0. */
export const difference = () => (Math.abs(ahead()) > DIFFERS_S ? ahead() : 0);
