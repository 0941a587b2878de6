/** Live: how the server is doing. */
import { request } from "../api.js";
import { h } from "../components/dom.js";

/** @param {HTMLElement} main @param {import("../router.js").Route} route @param {AbortSignal} signal */
export async function show(main, route, signal) {
  await request("readyz", { signal });
  main.append(h("h1", {}, "Live"), h("p", {}, "The server is ready. ", h("a", { href: "metrics" }, "All metrics")));
}
