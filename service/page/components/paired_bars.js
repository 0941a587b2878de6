/** A table with two bars in each row: a share at training, and the current share. */
import { h } from "./dom.js";
import { percent } from "./numbers.js";

/**
 * @param {string} caption
 * @param {{name: string, reference: number, current: number}[]} rows shares between 0 and 1
 * @returns {HTMLElement}
 */
export function pairedBars(caption, rows) {
  const largest = Math.max(...rows.flatMap((row) => [row.reference, row.current]), 1e-9);
  const heads = ["", "At training", "Now"].map((text) => h("th", { scope: "col" }, text || h("span", { class: "visually-hidden" }, "Values")));
  return h(
    "table",
    { class: "paired-bars" },
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, heads)),
    h(
      "tbody",
      {},
      rows.map((row) =>
        h("tr", {}, h("th", { scope: "row", dir: "auto" }, row.name), bar(row.reference / largest, row.reference, "reference"), bar(row.current / largest, row.current, "current")),
      ),
    ),
  );
}

/** @param {number} length between 0 and 1 @param {number} share @param {string} style */
const bar = (length, share, style) =>
  h("td", {}, h("span", { class: `bar ${style}`, style: { width: `calc((100% - 3.8rem) * ${length.toFixed(3)})` } }), h("span", { class: "bar-value" }, percent(share)));
