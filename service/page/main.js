/**
 * Opens the view that the fragment of the address names, and shows its errors.
 *
 * A view is a module with `show(main, route, signal)`, which fills `main`. `signal` aborts when another view opens.
 */
import { ServerUnreachable } from "./api.js";
import { h } from "./components/dom.js";
import { notice } from "./components/notice.js";
import { address, currentRoute } from "./router.js";
import { onSessionChange, signOut, signedIn } from "./session.js";

/** @typedef {import("./router.js").Route} Route */
/** @typedef {{show: (main: HTMLElement, route: Route, signal: AbortSignal) => Promise<void>}} View */

/** @type {Record<string, {title: string, load: () => Promise<View>}>} */
const VIEWS = {
  models: { title: "Models", load: () => import("./views/models.js") },
  try: { title: "Try", load: () => import("./views/try.js") },
  versions: { title: "Versions", load: () => import("./views/versions.js") },
  live: { title: "Live", load: () => import("./views/live.js") },
  api: { title: "API", load: () => import("./views/api.js") },
};
const FIRST = "models";
const SLOW_MS = 150; // faster views show no message while they load

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
let opened = new AbortController();

/** @param {boolean} moveFocus whether the reader has followed a link */
async function open(moveFocus) {
  opened.abort();
  opened = new AbortController();
  const { signal } = opened;
  const route = currentRoute();
  const view = VIEWS[route.view] ?? VIEWS[FIRST];
  showHeader(view, route);
  const waiting = setTimeout(() => main.replaceChildren(h("p", { class: "quiet", role: "status" }, "Loading …")), SLOW_MS);
  signal.addEventListener("abort", () => clearTimeout(waiting));
  try {
    const { show } = await view.load().catch((error) => {
      throw error instanceof TypeError ? new ServerUnreachable("the server does not answer", { cause: error }) : error;
    });
    if (signal.aborted) return;
    const content = h("div", { class: `view ${route.view || FIRST}` });
    await show(content, route, signal);
    if (!signal.aborted) main.replaceChildren(content);
  } catch (error) {
    if (!signal.aborted) main.replaceChildren(h("h1", {}, view.title), notice(error, () => open(false)));
  } finally {
    clearTimeout(waiting);
  }
  if (moveFocus && !signal.aborted) main.focus({ preventScroll: false });
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

addEventListener("hashchange", () => open(true));
onSessionChange(() => open(false));
open(false);
