/** The form of a row: all columns of a model, with a search and groups if there are many columns. */
import { h } from "../components/dom.js";
import { countText } from "../components/numbers.js";
import { field } from "./fields.js";

/** @typedef {import("./feature.js").Feature} Feature */
/** @typedef {import("./feature.js").Row} Row */

const FEW = 24; // number of columns up to which the form has no search
const FIRST = 12; // columns in the group of the most important columns
const GROUP = 25;

/**
 * @param {{features: Feature[], histograms: Record<string, import("./feature.js").Cell[]>, importance: string[],
 *   changed: (feature: Feature) => void, focused: (feature: Feature) => void}} options
 */
export function rowForm({ features, histograms, importance, changed, focused }) {
  /** @type {Row} */
  let base = {};
  const fields = features.map((feature, position) => field(feature, position, histograms[feature.name], onChange, focused));
  const byName = new Map(fields.map((one) => [one.feature.name, one]));
  const groups = groupFields(fields, importance);
  const search = h("input", { id: "search", type: "search", oninput: filter, placeholder: countText(features.length, "column") });
  const onlyChanged = h("input", { id: "only-changed", type: "checkbox", onchange: filter });
  const none = h("p", { class: "quiet", role: "status" });
  const tools = features.length > FEW && h("div", { class: "row form-tools" }, h("label", { for: "search" }, "Find a column"), search, h("label", {}, onlyChanged, " only changed"));
  const element = h("form", { class: "row-form", onsubmit: (/** @type {Event} */ event) => event.preventDefault(), "aria-label": "Row" }, tools, none, groups.map((group) => group.element));

  /** @param {Feature} feature */
  function onChange(feature) {
    markChanged(/** @type {any} */ (byName.get(feature.name)));
    changed(feature);
  }
  /** @param {import("./fields.js").Field} one */
  function markChanged(one) {
    one.element.classList.toggle("changed", one.read() !== (base[one.feature.name] ?? null));
  }
  function filter() {
    const text = search.value.trim().toLowerCase();
    let shown = 0;
    for (const group of groups) {
      let found = 0;
      for (const one of group.fields) {
        const visible = one.feature.name.toLowerCase().includes(text) && (!onlyChanged.checked || one.element.classList.contains("changed"));
        one.element.hidden = !visible;
        found += Number(visible);
      }
      group.element.hidden = found === 0;
      if (group.element instanceof HTMLDetailsElement) group.element.open = text || onlyChanged.checked ? found > 0 : group === groups[0];
      shown += found;
    }
    none.textContent = shown ? "" : "No column matches.";
  }
  return {
    element,
    byName,
    /** @returns {Row} */
    read: () => Object.fromEntries(fields.map((one) => [one.feature.name, one.read()])),
    /** @param {Row} row @param {boolean} asBase whether changes are shown relative to this row */
    write: (row, asBase) => {
      fields.forEach((one) => one.write(row[one.feature.name]));
      if (asBase) base = Object.fromEntries(fields.map((one) => [one.feature.name, one.read()]));
      fields.forEach(markChanged);
    },
  };
}

/** @param {import("./fields.js").Field[]} fields @param {string[]} importance */
function groupFields(fields, importance) {
  if (fields.length <= FEW) return [{ fields, element: h("div", { class: "fields" }, fields.map((one) => one.element)) }];
  const first = new Set(importance.slice(0, FIRST));
  const important = fields.filter((one) => first.has(one.feature.name));
  const rest = fields.filter((one) => !first.has(one.feature.name));
  const groups = important.length ? [group("Most important columns", important, true)] : [];
  for (let at = 0; at < rest.length; at += GROUP) {
    const some = rest.slice(at, at + GROUP);
    groups.push(group(`${some[0].feature.name} … ${some[some.length - 1].feature.name}`, some, !groups.length));
  }
  return groups;
}

/** @param {string} title @param {import("./fields.js").Field[]} fields @param {boolean} open */
function group(title, fields, open) {
  const summary = h("summary", {}, h("bdi", {}, title), " ", h("span", { class: "quiet" }, `(${fields.length})`));
  return { fields, element: h("details", { open }, summary, h("div", { class: "fields" }, fields.map((one) => one.element))) };
}
