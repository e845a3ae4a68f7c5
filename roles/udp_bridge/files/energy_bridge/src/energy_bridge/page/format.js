// SPDX-License-Identifier: GPL-3.0-or-later
// Figures for people. Money is exact: BigInt until it is digits. Energy comes in whole Wh and is shown in kWh.

export const LOCALE = (navigator.languages ?? []).find((language) => /^en(-|$)/i.test(language)) ?? "en-GB";
const NONE = "–";
const MINUS = "\u2212";
const MOST_DIGITS = 18;
const numbers = new Map();

function numberFormat(options) {
  const key = JSON.stringify(options);
  if (!numbers.has(key)) numbers.set(key, new Intl.NumberFormat(LOCALE, options));
  return numbers.get(key);
}

const minus = (text) => text.replace("-", MINUS);
const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

/** A count, or a plain number. */
export const count = (value) => (known(value) ? minus(numberFormat({ maximumFractionDigits: 1 }).format(value)) : NONE);

/** 1234 Wh → "1.234"; exact. */
export const kwh = (wh) =>
  known(wh) ? minus(numberFormat({ minimumFractionDigits: 3, maximumFractionDigits: 3 }).format(wh / 1000)) : NONE;

/** 1234 Wh → "1.234 kWh". */
export const energy = (wh) => (known(wh) ? `${kwh(wh)}\u00a0kWh` : NONE);

/** 0.613 → "61 %"; what is not all is never shown as 100. */
export function share(value) {
  if (!known(value)) return NONE;
  const percent = value > 0.99 && value < 1 ? 99 : value > 0 && value < 0.01 ? 1 : Math.round(value * 100);
  return `${numberFormat({}).format(percent)}\u00a0%`;
}

const abs = (value) => (value < 0n ? -value : value);

/** A fraction of whole numbers as a decimal text with so many digits, halves away from zero. */
export function decimal(numerator, denominator, digits) {
  const scaled = abs(numerator) * 10n ** BigInt(digits);
  const rounded = (scaled * 2n + denominator) / (denominator * 2n);
  const text = rounded.toString().padStart(digits + 1, "0");
  const sign = numerator < 0n && rounded !== 0n ? "-" : "";
  return sign + (digits ? `${text.slice(0, -digits)}.${text.slice(-digits)}` : text);
}

// Of what is not nothing, two digits at least are shown, however small it is.
function digitsFor(numerator, denominator, digits) {
  if (numerator === 0n) return digits;
  const size = abs(numerator);
  let more = digits;
  if (size * 10n ** BigInt(digits) * 2n < denominator) {
    while (more < MOST_DIGITS && size * 10n ** BigInt(more - 1) < denominator) more += 1;
  }
  return more;
}

/** The market's money: how wei become its currency. */
export class Money {
  constructor({ currency, wei_per_unit: weiPerUnit }) {
    this.currency = currency;
    this.weiPerUnit = BigInt(weiPerUnit);
    this.isCode = /^[A-Za-z]{3}$/.test(currency);
    this.digits = this.isCode
      ? numberFormat({ style: "currency", currency }).resolvedOptions().maximumFractionDigits
      : 2;
  }

  #text(numerator, denominator, digits, signed) {
    const places = digitsFor(numerator, denominator, digits);
    const text = decimal(numerator, denominator, places);
    const options = { minimumFractionDigits: places, maximumFractionDigits: places };
    if (signed) options.signDisplay = "exceptZero";
    if (this.isCode)
      return minus(numberFormat({ ...options, style: "currency", currency: this.currency }).format(text));
    return `${minus(numberFormat(options).format(text))}\u00a0${this.currency}`;
  }

  /** An amount, as a sum is shown: to the cent. */
  sum(wei, signed = false) {
    return known(wei) ? this.#text(BigInt(wei), this.weiPerUnit, this.digits, signed) : NONE;
  }

  /** The amount of one trade, which may be a fraction of a cent. */
  amount(wei) {
    return known(wei) ? this.#text(BigInt(wei), this.weiPerUnit, this.digits + 2) : NONE;
  }

  /** A price per kWh, of wei per Wh. */
  price(weiPerWh) {
    return known(weiPerWh) ? this.#text(BigInt(weiPerWh) * 1000n, this.weiPerUnit, this.digits + 2) : NONE;
  }

  /** The average price per kWh of an amount for so much energy. */
  averagePrice(wei, wh) {
    return known(wei) && wh > 0 ? this.#text(BigInt(wei) * 1000n, this.weiPerUnit * BigInt(wh), this.digits + 2) : NONE;
  }

  /** A price per kWh as a number, for a plot only. */
  plotted(weiPerWh) {
    return Number(decimal(BigInt(weiPerWh) * 1000n, this.weiPerUnit, 12));
  }

  /** A plot's number back as text. */
  tick(value, digits) {
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    if (this.isCode) Object.assign(options, { style: "currency", currency: this.currency });
    return minus(numberFormat(options).format(Math.abs(value) < 10 ** -digits / 2 ? 0 : value));
  }
}

const dates = new Map();

function dateFormat(options) {
  const key = JSON.stringify(options);
  if (!dates.has(key)) dates.set(key, new Intl.DateTimeFormat(LOCALE, options));
  return dates.get(key);
}

const TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const MINUTE = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const DATE = { day: "numeric", month: "short", year: "numeric" };

/** 14:03:05, local. */
export const clockTime = (seconds) => dateFormat(TIME).format(seconds * 1000);

/** 29 Nov 2026, 14:03:05, local. */
export const dateTime = (seconds) => dateFormat({ ...DATE, ...TIME }).format(seconds * 1000);

/** 2026-11-29 14:03:05 UTC. */
export const utc = (seconds) => `${new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** A slot's time, local: "14:00–14:15", its date in front where wanted. */
export function slotTime(slot, slotS, withDate = true) {
  const time = `${dateFormat(MINUTE).format(slot * slotS * 1000)}–${dateFormat(MINUTE).format((slot + 1) * slotS * 1000)}`;
  return withDate ? `${dateFormat({ day: "numeric", month: "short" }).format(slot * slotS * 1000)}, ${time}` : time;
}

/** When a slot begins: "29 Nov, 14:00". */
export const slotStart = (slot, slotS) =>
  dateFormat({ day: "numeric", month: "short", ...MINUTE }).format(slot * slotS * 1000);

/** A slot's weekday, day and year, for a heading. */
export const slotDate = (slot, slotS) =>
  dateFormat({ weekday: "long", day: "numeric", month: "long", year: "numeric" }).format(slot * slotS * 1000);

/** "2026-11-29" → "Sun 29 Nov 2026"; the day is UTC's. */
export function dayName(day, short = false) {
  const options = short ? { day: "numeric", month: "short" } : { weekday: "short", ...DATE };
  return dateFormat({ ...options, timeZone: "UTC" })
    .format(Date.parse(`${day}T00:00:00Z`))
    .replace(",", "");
}

/** 75 → "1 min 15 s"; the two largest units. */
export function duration(seconds) {
  if (!known(seconds)) return NONE;
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole}\u00a0s`;
  if (whole < 3600)
    return `${Math.floor(whole / 60)}\u00a0min${whole % 60 && whole < 600 ? ` ${whole % 60}\u00a0s` : ""}`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}\u00a0h ${Math.floor((whole % 3600) / 60)}\u00a0min`;
  return `${Math.floor(whole / 86400)}\u00a0d ${Math.floor((whole % 86400) / 3600)}\u00a0h`;
}

/** "0x1234567…89ab". */
export const shortHash = (hash) => (known(hash) ? `${hash.slice(0, 8)}…${hash.slice(-4)}` : NONE);

/** "1 trade", "2 trades". */
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;
