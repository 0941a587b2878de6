/** A chart of the contributions that lead from the baseline to a prediction, the largest first. */
import { h } from "./dom.js";
import { countText, number } from "./numbers.js";

const SHOWN = 10;

/** @param {{output: string, baseline: number, contributions: Record<string, number>, exact: boolean, error?: number}} explanation */
export function waterfall({ output, baseline, contributions, exact, error }) {
  const sorted = Object.entries(contributions).sort((one, other) => Math.abs(other[1]) - Math.abs(one[1]));
  const shown = sorted.slice(0, SHOWN).filter(([, value]) => value !== 0);
  const rest = sorted.slice(shown.length);
  const restSum = rest.reduce((sum, [, value]) => sum + value, 0);
  const steps = rest.length ? [...shown, [countText(rest.length, "other column"), restSum]] : shown;
  let at = baseline;
  const bars = steps.map(([name, value]) => ({ name: String(name), value: Number(value), from: at, to: (at += Number(value)) }));
  const ends = [baseline, ...bars.map((bar) => bar.to)];
  const low = Math.min(...ends), size = Math.max(...ends) - low || 1;
  const place = (/** @type {number} */ from, /** @type {number} */ to) => ({
    marginInlineStart: `${((Math.min(from, to) - low) / size) * 99}%`,
    width: `${Math.max((Math.abs(to - from) / size) * 99, 0.8)}%`,
  });
  const row = (/** @type {string} */ name, /** @type {string} */ text, /** @type {string} */ kind, /** @type {any} */ style) =>
    h("li", {}, h("span", { class: "bar-label", dir: "auto" }, name), h("span", { class: "bar-track bare", dir: "ltr" }, h("span", { class: `bar ${kind}`, style })), h("span", { class: "bar-value" }, text));
  return h(
    "div",
    {},
    h("ul", { class: "bars waterfall" }, [
      row("baseline", number(baseline), "end", place(baseline, baseline)),
      ...bars.map(({ name, value, from, to }) => row(name, `${value > 0 ? "+" : ""}${number(value)}`, value > 0 ? "up" : "down", place(from, to))),
      row(output === "value" ? "prediction" : `probability of ${output}`, number(at), "end", place(at, at)),
    ]),
    h("p", { class: "quiet" }, exact ? "Exact Shapley values." : `Shapley values, estimated: ± ${number(error)} (standard error).`),
  );
}
