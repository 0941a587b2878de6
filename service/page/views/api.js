/** API: the routes of this server. */
import { getJson } from "../api.js";
import { h } from "../components/dom.js";

/** @param {HTMLElement} main @param {import("../router.js").Route} route @param {AbortSignal} signal */
export async function show(main, route, signal) {
  const document = await getJson("docs.json", signal);
  const rows = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) =>
      h("tr", {}, h("td", {}, h("code", {}, method.toUpperCase())), h("td", {}, h("code", {}, path)), h("td", {}, operation.summary ?? "")),
    ),
  );
  main.append(h("h1", {}, "API"), h("p", {}, h("a", { href: "docs.json" }, "docs.json"), " (OpenAPI) · ", h("a", { href: "bentoml/" }, "BentoML's page")));
  main.append(h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, rows))));
}
