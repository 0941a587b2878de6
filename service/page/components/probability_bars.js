/** The probabilities of the classes, the largest first. */
import { h } from "./dom.js";
import { countText, percent } from "./numbers.js";

const SHOWN = 10;

/** @param {Record<string, number>} probabilities @param {string[]} [labelSet] the labels of the label set, if there is one */
export function probabilityBars(probabilities, labelSet = []) {
  const sorted = Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
  const rows = sorted.slice(0, SHOWN).map(([label, share]) =>
    h(
      "li",
      {},
      h("span", { class: "bar-label", dir: "auto" }, label || "(empty)"),
      h("span", { class: "bar-track" }, h("span", { class: `bar ${labelSet.includes(label) ? "in-set" : ""}`, style: { width: `${Math.max(share * 100, 0.3)}%` } })),
      h("span", { class: "bar-value" }, percent(share)),
    ),
  );
  const rest = sorted.slice(SHOWN);
  if (rest.length) rows.push(h("li", { class: "quiet" }, `${countText(rest.length, "more class", "more classes")}: ${percent(rest.reduce((sum, [, share]) => sum + share, 0))} together`));
  return h("ul", { class: "bars" }, rows);
}
