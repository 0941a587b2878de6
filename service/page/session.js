/** The API key of this page. It is in memory only, and lost when the page is closed or loaded again. */

let key = "";
/** @type {Set<() => void>} */
const listeners = new Set();

export const signedIn = () => key !== "";

/** The headers that every request gets. @returns {Record<string, string>} */
export const keyHeaders = () => (key ? { Authorization: `Bearer ${key}` } : {});

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
