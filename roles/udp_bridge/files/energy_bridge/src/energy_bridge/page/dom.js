// SPDX-License-Identifier: GPL-3.0-or-later
// Elements from plain calls, and a patch that leaves alone what has not changed: focus, scroll and selection stay.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. on: {event: listener}; data-key names a child among its siblings; null and false children are left out. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** An SVG element. */
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** An HTML element with a data-key whose children are made only where there is none yet with the same signature. */
export function keep(signature, tag, props, make) {
  const element = h(tag, props);
  element.signature = signature;
  element.make = make;
  return element;
}

function finish(element) {
  if (!element.make) return;
  element.append(...element.make().flat(Infinity));
  element.make = null;
}

function finishAll(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return;
  finish(node);
  for (const element of node.querySelectorAll("[data-key]")) finish(element);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") listen(element, value);
    else if (name === "value" && "value" in element && element.tagName !== "DATA") element.wanted = String(value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  if (element.wanted !== undefined) element.value = element.wanted;
  return element;
}

function listen(element, listeners) {
  element.listeners = listeners;
  for (const type of Object.keys(listeners))
    element.addEventListener(type, (event) => element.listeners[type]?.(event));
}

/** Make the children of `parent` be like `nodes`, changing as little as possible. */
export function patch(parent, nodes) {
  const named = new Map();
  for (const child of parent.children) if (child.dataset?.key) named.set(child.dataset.key, child);
  let at = parent.firstChild;
  for (const wanted of nodes) {
    const key = wanted.dataset?.key;
    let old = key ? named.get(key) : at;
    if (old && (!alike(old, wanted) || (!key && old.dataset?.key))) old = null;
    if (!old) {
      finishAll(wanted);
      parent.insertBefore(wanted, at);
      continue;
    }
    if (old === at) at = at.nextSibling;
    else parent.insertBefore(old, at);
    update(old, wanted);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

const alike = (old, wanted) =>
  old.nodeType === wanted.nodeType && old.nodeName === wanted.nodeName && old.id === wanted.id;

function update(old, wanted) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== wanted.nodeValue) old.nodeValue = wanted.nodeValue;
    return;
  }
  if (wanted.make) {
    if (old.signature === wanted.signature) return;
    finish(wanted);
    old.signature = wanted.signature;
  }
  for (const { name } of [...old.attributes]) {
    // What the reader has opened stays open.
    if (!wanted.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (wanted.listeners) {
    if (old.listeners) old.listeners = wanted.listeners;
    else listen(old, wanted.listeners);
  } else if (old.listeners) old.listeners = {};
  patch(old, [...wanted.childNodes]);
  if (wanted.wanted !== undefined && old.value !== wanted.wanted && document.activeElement !== old)
    old.value = wanted.wanted;
}
