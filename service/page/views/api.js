/** The API view: the OpenAPI document of this server for readers. */
import { getJson } from "../api.js";
import { h } from "../components/dom.js";
import { operationView } from "../components/operation_view.js";

const LINKS = [
  ["docs.json", "OpenAPI 3.1, for generated clients"],
  ["bentoml/", "BentoML's page with Swagger UI"],
  ["schema.json", "for BentoML's client"],
];

/** @param {HTMLElement} main @param {import("../router.js").Route} route @param {AbortSignal} signal */
export async function show(main, route, signal) {
  const document = await getJson("docs.json", signal);
  /** @type {Map<string, {method: string, path: string, operation: any}[]>} */
  const tags = new Map();
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(/** @type {Record<string, any>} */ (operations))) {
      if (!operation.responses) continue; // not an operation: the servers or the parameters of all operations
      const tag = operation.tags?.[0] ?? "Other";
      tags.set(tag, [...(tags.get(tag) ?? []), { method, path, operation }]);
    }
  }
  const search = h("input", { id: "find-route", type: "search" });
  const none = h("p", { class: "quiet", role: "status" });
  const sections = [...tags].map(([tag, found]) => h("section", { class: "panel" }, h("h2", {}, tag), found.map((one) => operationView(document, one))));
  search.addEventListener("input", () => filter(sections, search.value.trim().toLowerCase(), none));
  main.append(
    h("h1", {}, "API"),
    h("p", {}, h("strong", {}, document.info.title), ` ${document.info.version}`),
    h("ul", {}, LINKS.map(([path, what]) => h("li", {}, h("a", { href: path }, path), ` – ${what}`))),
    h("div", { class: "row model-picker" }, h("label", { for: "find-route" }, "Find a route"), search),
    none,
    h("div", { class: "routes" }, sections),
  );
}

/** @param {HTMLElement[]} sections @param {string} text @param {HTMLElement} none */
function filter(sections, text, none) {
  let shown = 0;
  for (const section of sections) {
    const operations = [...section.querySelectorAll("details.operation")];
    const found = operations.filter((one) => {
      /** @type {HTMLElement} */ (one).hidden = !one.querySelector("summary")?.textContent?.toLowerCase().includes(text);
      return !(/** @type {HTMLElement} */ (one).hidden);
    });
    section.hidden = !found.length;
    shown += found.length;
  }
  none.textContent = shown ? "" : "No route matches.";
}
