/** The fragment of the address: `#/view/model?query`. */

/** @typedef {{view: string, model: string, query: URLSearchParams}} Route */

/** @param {string} hash @returns {Route} */
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#?\/?/, "").split(/\?(.*)/s);
  const [view = "", model = ""] = path.split("/");
  return { view, model: safelyDecoded(model), query: new URLSearchParams(query) };
}

/** @returns {Route} */
export function currentRoute() {
  return parse(location.hash);
}

/**
 * @param {string} view
 * @param {string} [model]
 * @param {Record<string, string> | URLSearchParams} [query]
 */
export function address(view, model = "", query = {}) {
  const text = new URLSearchParams(query).toString();
  return `#/${view}${model && `/${encodeURIComponent(model)}`}${text && `?${text}`}`;
}

/** Write an address into the browser's bar without opening it. @param {string} hash */
export function remember(hash) {
  history.replaceState(null, "", hash);
}

/** @param {string} text */
function safelyDecoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
