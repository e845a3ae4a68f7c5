// SPDX-License-Identifier: GPL-3.0-or-later
// GET below api/v1/, as JSON, or an ApiError with a sentence.

const TIMEOUT_MS = 8000;

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status; // null where nothing answered
  }
}

/** The JSON at a path below api/v1/, and the response that brought it. */
export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(
    Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== ""),
  );
  const target = `api/v1/${path}${query.size ? `?${query}` : ""}`;
  let response;
  try {
    response = await fetch(target, { cache: "no-cache", signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    throw new ApiError("The bridge does not answer.", null);
  }
  let body;
  try {
    body = await response.json();
  } catch {
    throw new ApiError(
      `The bridge's answer is not to be understood (HTTP status ${response.status}).`,
      response.status,
    );
  }
  if (!response.ok)
    throw new ApiError(body?.error ?? `The bridge answered with HTTP status ${response.status}.`, response.status);
  return { body, response };
}

/** The JSON alone. */
export const get = async (path, parameters) => (await ask(path, parameters)).body;
