/** Sends requests to the server of this page, with the reader's API key. The key is only in memory, and is lost when the page is closed or reloaded. */

let key = "";
/** @type {Set<() => void>} */
const listeners = new Set();

export const signedIn = () => key !== "";

/** @param {string} text */
export function signIn(text) {
  key = text.trim();
  listeners.forEach((listener) => listener());
}

export const signOut = () => signIn("");

/** @param {() => void} listener */
export function onSessionChange(listener) {
  listeners.add(listener);
}

/** The headers of every request. @returns {Record<string, string>} */
export const keyHeaders = () => (key ? { Authorization: `Bearer ${key}` } : {});

/**
 * @typedef {{row?: number | null, field?: string | null, code: string, message: string}} RowError
 * @typedef {{title?: string, detail?: string, status?: number, errors?: RowError[]}} Problem
 */

/** The server has refused a request. `problem` is its problem document. */
export class ApiError extends Error {
  /** @param {number} status @param {Problem} problem */
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `status ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

/** The server has not answered. */
export class ServerUnreachable extends Error {}

/** Whether the same request may succeed later: the server was not reached, is not ready, or has too many requests. @param {unknown} error */
export function isTemporary(error) {
  return error instanceof ServerUnreachable || (error instanceof ApiError && (error.status === 429 || error.status >= 500));
}

/**
 * @param {string} path relative to the page, so it does not start with a slash
 * @param {{method?: string, body?: BodyInit, headers?: Record<string, string>, signal?: AbortSignal}} [options]
 * @returns {Promise<Response>} a successful response
 */
export async function request(path, options = {}) {
  const { headers = {}, ...more } = options;
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), { ...more, headers: { ...keyHeaders(), ...headers } });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ServerUnreachable("the server does not answer", { cause: error });
  }
  if (!response.ok) throw new ApiError(response.status, await problemOf(response));
  return response;
}

/** @param {string} path @param {AbortSignal} [signal] */
export async function getJson(path, signal) {
  return (await request(path, { signal })).json(); // has the same headers as the preload in index.html
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} body
 * @param {{signal?: AbortSignal, headers?: Record<string, string>}} [options]
 */
export async function sendJson(method, path, body, options = {}) {
  const headers = { "Content-Type": "application/json", Accept: "application/json", ...options.headers };
  return (await request(path, { method, body: JSON.stringify(body), signal: options.signal, headers })).json();
}

/** @param {Response} response @returns {Promise<Problem>} */
export async function problemOf(response) {
  try {
    return await response.json();
  } catch {
    return { title: response.statusText, status: response.status };
  }
}
