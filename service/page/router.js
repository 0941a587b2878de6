/**
 * Opens the view in the fragment of the address, `#/view/model?query`, and shows its errors.
 *
 * A view is a module with `show(main, route, signal)`, which fills `main`. `signal` aborts when another view is opened.
 */
import { ServerUnreachable, getJson, onSessionChange, signOut, signedIn } from "./api.js";
import { h } from "./components/dom.js";

/** @typedef {{view: string, model: string, query: URLSearchParams}} Route */
/** @typedef {{show: (main: HTMLElement, route: Route, signal: AbortSignal) => Promise<void>}} View */

/** @type {Record<string, {title: string, load: () => Promise<View>, styles?: string}>} */
const VIEWS = {
  models: { title: "Models", load: () => import("./views/models.js") },
  try: { title: "Try", load: () => import("./views/try.js"), styles: "try/try.css" },
  versions: { title: "Versions", load: () => import("./views/versions.js"), styles: "operate.css" },
  live: { title: "Live", load: () => import("./views/live.js"), styles: "operate.css" },
  api: { title: "API", load: () => import("./views/api.js") },
};
const FIRST = "models";
const SLOW_MS = 150; // views that load faster show no message meanwhile

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
let opened = new AbortController();

/** @param {string} hash @returns {Route} */
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#?\/?/, "").split(/\?(.*)/s);
  const [view = "", model = ""] = path.split("/");
  return { view, model: decodeSafely(model), query: new URLSearchParams(query) };
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

/** Show an address in the browser's address bar without opening it. @param {string} hash */
export function remember(hash) {
  history.replaceState(null, "", hash);
}

/** @param {boolean} moveFocus whether the reader has followed a link */
async function open(moveFocus) {
  opened.abort();
  opened = new AbortController();
  const { signal } = opened;
  const route = parse(location.hash);
  const view = VIEWS[route.view] ?? VIEWS[FIRST];
  showHeader(view, route);
  const waiting = setTimeout(() => main.replaceChildren(h("p", { class: "quiet", role: "status" }, "Loading …")), SLOW_MS);
  signal.addEventListener("abort", () => clearTimeout(waiting));
  try {
    const [{ show }] = await Promise.all([view.load(), view.styles && addStyles(view.styles)]).catch((error) => {
      throw error instanceof TypeError ? new ServerUnreachable("the server does not answer", { cause: error }) : error;
    });
    if (signal.aborted) return;
    const content = h("div", { class: `view ${route.view || FIRST}` });
    await show(content, route, signal);
    if (!signal.aborted) main.replaceChildren(content);
  } catch (error) {
    if (!signal.aborted) await showError(view.title, error, signal);
  } finally {
    clearTimeout(waiting);
  }
  if (moveFocus && !signal.aborted) main.focus({ preventScroll: false });
}

/** Add a style sheet that only some views need. Its path is relative to this module. @param {string} path @returns {Promise<void>} */
function addStyles(path) {
  const { href } = new URL(path, import.meta.url);
  if (document.head.querySelector(`link[href="${href}"]`)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const link = h("link", { rel: "stylesheet", href, onload: () => resolve(), onerror: () => { link.remove(); reject(new TypeError(path)); } });
    document.head.append(link);
  });
}

/** @param {string} title @param {unknown} error @param {AbortSignal} signal */
async function showError(title, error, signal) {
  const { notice } = await import("./components/notice.js");
  if (!signal.aborted) main.replaceChildren(h("h1", {}, title), notice(error, () => open(false)));
}

/** @param {{title: string}} shown @param {Route} route */
function showHeader(shown, route) {
  document.title = route.model ? `${route.model} – ${shown.title} – tabserve` : `${shown.title} – tabserve`;
  const links = Object.entries(VIEWS).map(([name, view]) =>
    h("a", { href: address(name, name === FIRST || name === "api" ? "" : route.model), "aria-current": view === shown && "page" }, view.title),
  );
  document.getElementById("navigation")?.replaceChildren(...links);
  const session = signedIn() ? [h("button", { class: "plain", onclick: signOut }, "Sign out")] : [];
  document.getElementById("session")?.replaceChildren(...session);
}

/** @param {string} text */
function decodeSafely(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

addEventListener("hashchange", () => open(true));
onSessionChange(() => open(false));
open(false).then(() => {
  import("./components/notice.js"); // loaded now, because it is needed when the server cannot be reached
  if (parse(location.hash).view === "api") getJson("models").catch(() => null); // otherwise browsers warn that the preloaded list was not used
});
