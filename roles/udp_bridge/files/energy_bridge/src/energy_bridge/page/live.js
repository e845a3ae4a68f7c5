// SPDX-License-Identifier: GPL-3.0-or-later
// Keeps the overview as new as the bridge's: an event says that there is another one, and it is fetched at most once a second.

import { ask } from "./api.js";
import { answerAt, eventAt, forgetEvents } from "./clock.js";

const AT_MOST_EVERY_MS = 1000;
const CHECK_EVERY_MS = 4000;
const RECONNECT_AFTER_MS = 3000;
const RESTART_SAID_MS = 60_000;

const monotonic = () => performance.now();

/** What is known of the connection. Times of the browser's, in s since the epoch. */
export const connection = {
  heardAt: null, // when the bridge was last heard of
  lostSince: null, // set while it does not answer
  trouble: null, // why, where it answers but has no overview
  restartedAt: null, // a start that this page has seen, for a minute
};

let overview = null;
let onChange = () => {};
let onState = () => {};
let source = null;
let fetching = false;
let wantedAgain = false;
let fetchedAt = -Infinity;
let timer = null;
let closedAt = null;
let seenVersion = null;

export const currentOverview = () => overview;

/** Begin; changed(overview) is called for each new one, state() whenever the connection's state is another. */
export function start(changed, state) {
  onChange = changed;
  onState = state;
  fetchSoon();
  listen();
  setInterval(check, CHECK_EVERY_MS);
  document.addEventListener("visibilitychange", () => document.hidden || check());
  window.addEventListener("online", check);
}

function listen() {
  source?.close();
  source = new EventSource("api/v1/events");
  closedAt = null;
  let first = true;
  source.addEventListener("overview", (event) => {
    heard();
    const { version, now } = JSON.parse(event.data);
    if (!first && version !== seenVersion) eventAt(now);
    first = false;
    seenVersion = version;
    fetchSoon();
  });
  source.onopen = () => {
    first = true;
    heard();
  };
  source.onerror = () => {
    forgetEvents();
    if (source.readyState === EventSource.CLOSED) closedAt ??= monotonic();
    fetchSoon();
  };
}

// An EventSource reconnects by itself, but not after an answer that it does not take.
function check() {
  if (closedAt !== null && monotonic() - closedAt > RECONNECT_AFTER_MS) listen();
  if (monotonic() - fetchedAt > CHECK_EVERY_MS / 2) fetchSoon();
}

function heard() {
  connection.heardAt = Date.now() / 1000;
  if (connection.lostSince !== null) {
    connection.lostSince = null;
    onState();
  }
}

function fetchSoon() {
  if (fetching) wantedAgain = true;
  else timer ??= setTimeout(fetchNow, Math.max(0, fetchedAt + AT_MOST_EVERY_MS - monotonic()));
}

async function fetchNow() {
  timer = null;
  fetching = true;
  wantedAgain = false;
  fetchedAt = monotonic();
  const askedAt = Date.now() / 1000;
  try {
    const { body, response } = await ask("overview");
    connection.trouble = null;
    heard();
    answerAt(response.headers.get("Date"), body.now, askedAt);
    take(body);
  } catch (error) {
    if (error.status === null || error.status === undefined) connection.lostSince ??= connection.heardAt ?? askedAt;
    else connection.trouble = error.message;
    onState(error);
  } finally {
    fetching = false;
    if (wantedAgain) fetchSoon();
  }
}

function take(body) {
  if (overview && overview.started !== body.started) {
    const seen = body.started;
    connection.restartedAt = seen;
    setTimeout(() => {
      if (connection.restartedAt === seen) connection.restartedAt = null;
      onState();
    }, RESTART_SAID_MS);
  }
  const isNew = !overview || overview.version !== body.version || overview.started !== body.started;
  if (isNew) {
    overview = body;
    onChange(body);
  } else onState();
}
