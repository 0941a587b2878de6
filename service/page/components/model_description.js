/** A model's columns and its engine. */
import { hint } from "../try/feature.js";
import { h } from "./dom.js";
import { scrollable } from "./scrollable.js";
import { address } from "../router.js";

/** @param {any} model the response of /models/{name} */
export function describeModel(model) {
  const heads = ["Column", "Type", "Values"].map((head) => h("th", { scope: "col" }, head));
  const rows = model.schema.features.map((/** @type {import("../try/feature.js").Feature} */ feature) => h("tr", {}, h("td", { dir: "auto" }, feature.name), h("td", {}, feature.kind), h("td", {}, hint(feature))));
  return h(
    "div",
    {},
    h("p", { class: "quiet" }, `Engine: ${model.engine.name} (${model.engine.reason})`),
    scrollable(`Columns of ${model.name}`, h("table", {}, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows))),
    model.card && h("p", {}, h("a", { href: address("versions", model.name) }, "Card and metrics of all versions")),
  );
}
