/** The model's predictions for other values of one column, from one request with a row for each value. */
import { curve } from "../components/curve.js";
import { h } from "../components/dom.js";
import { countText, number, percent } from "../components/numbers.js";
import { dateInput, dateText, seconds } from "./dates.js";
import { isWhole, range } from "./feature.js";

/**
 * @typedef {import("./feature.js").Feature} Feature
 * @typedef {import("./feature.js").Value} Value
 * @typedef {import("./feature.js").Cell} Cell
 */
const POINTS = 64;
const LEVELS = 50;
const FLIPS = 6; // limit of the listed changes of the answer

/** The values to try, including the current value. @param {Feature} feature @param {Cell[]} histogram @param {Value} current @returns {Value[]} */
export function valuesToTry(feature, histogram, current) {
  if (feature.kind === "boolean") return feature.nullable ? [false, true, null] : [false, true];
  if (feature.kind === "category") return levelsToTry(feature, histogram, current);
  if (feature.kind === "text") return []; // the histogram of a text column counts scores
  const bounds = range(feature, histogram);
  const type = feature.kind === "date" ? dateInput(feature) : "";
  if (!bounds || type === "text") return [];
  const at = feature.kind === "date" ? seconds(current) : current;
  const values = spread(bounds, isWhole(feature) || type !== "");
  if (typeof at === "number" && Number.isFinite(at) && !values.includes(at)) values.push(at);
  values.sort((one, other) => one - other);
  return type ? [...new Set(values.map((value) => dateText(value, type)))] : values;
}

/** @param {[number, number]} bounds @param {boolean} whole */
function spread([low, high], whole) {
  const values = Array.from({ length: POINTS }, (_, step) => low + ((high - low) * step) / (POINTS - 1));
  return [...new Set(values.map((value) => (whole ? Math.round(value) : Number(value.toPrecision(6)))))].filter((value) => value >= low && value <= high);
}

/** @param {Feature} feature @param {Cell[]} histogram @param {Value} current @returns {Value[]} */
function levelsToTry(feature, histogram, current) {
  const frequent = histogram.filter((cell) => "value" in cell).sort((one, other) => other.reference - one.reference).map((cell) => /** @type {Value} */ (cell.value));
  const levels = [...new Set([...frequent, ...(feature.seen?.levels ?? [])])].slice(0, LEVELS);
  if (current !== null && !levels.includes(current)) levels.unshift(current);
  return levels;
}

/** The number of a prediction that is drawn: its value, or the probability of one label. @param {any} prediction @param {string | null} label */
function output(prediction, label) {
  return label === null ? prediction.value : prediction.probabilities[label];
}

/**
 * @param {{feature: Feature, histogram: Cell[], values: Value[], predictions: (any | null)[], current: Value, label: string | null, pick: (value: Value) => void}} options
 * label: the class whose probability is drawn, null for a number
 */
export function whatIf({ feature, histogram, values, predictions, current, label, pick }) {
  const answered = values.map((value, row) => ({ value, prediction: predictions[row] })).filter(({ prediction }) => prediction);
  const title = h("h3", {}, "What if ", h("bdi", {}, feature.name), " were different? ", h("span", { class: "quiet" }, label === null ? "prediction" : ["probability of ", h("bdi", {}, label)]));
  if (!answered.length) return h("section", { class: "panel" }, title, h("p", { class: "quiet" }, "No curve for this column."));
  const text = label === null ? number : percent;
  const body = feature.kind === "category" || feature.kind === "boolean"
    ? levelBars(answered, histogram, current, label, text, pick)
    : valueCurve(feature, histogram, answered, current, label, text, pick);
  return h("section", { class: "panel what-if" }, title, body, answerChanges(answered, label));
}

/** @param {Feature} feature @param {Cell[]} histogram @param {any[]} answered @param {Value} current @param {string | null} label @param {(y: number) => string} text @param {(value: Value) => void} pick */
function valueCurve(feature, histogram, answered, current, label, text, pick) {
  const type = feature.kind === "date" ? dateInput(feature) : "";
  const position = (/** @type {any} */ value) => (type ? (seconds(value) ?? 0) : value);
  const points = answered.map(({ value, prediction }) => ({ x: position(value), y: output(prediction, label), low: prediction.interval?.low, high: prediction.interval?.high }));
  const xText = (/** @type {number} */ x) => (type ? dateText(x, "date") : number(x));
  const first = points[0], last = points[points.length - 1];
  const whole = isWhole(feature);
  return [
    curve({
      points, bins: bins(histogram, position, first.x, last.x), current: typeof current === "number" || type ? position(current) : null, xText, yText: text,
      yRange: label === null ? null : [0, 1],
      label: `From ${text(first.y)} at ${xText(first.x)} to ${text(last.y)} at ${xText(last.x)}`,
      pick: (x) => pick(type ? dateText(x, type) : whole ? Math.round(x) : Number(x.toPrecision(4))),
    }),
    h("p", { class: "quiet" }, histogram.length ? "Behind the curve: how often training saw these values. A click sets the value." : "A click sets the value."),
  ];
}

/** @param {Cell[]} histogram @param {(value: any) => number} position @param {number} x0 @param {number} x1 */
function bins(histogram, position, x0, x1) {
  return histogram.filter((cell) => !("group" in cell)).map((cell) => {
    if ("value" in cell) return { from: position(cell.value) - (x1 - x0) / 200, to: position(cell.value) + (x1 - x0) / 200, share: cell.reference };
    return { from: cell.above == null ? x0 : position(cell.above), to: cell.to == null ? x1 : position(cell.to), share: cell.reference };
  });
}

/** @param {any[]} answered @param {Cell[]} histogram @param {Value} current @param {string | null} label @param {(y: number) => string} text @param {(value: Value) => void} pick */
function levelBars(answered, histogram, current, label, text, pick) {
  const outputs = answered.map(({ prediction }) => output(prediction, label));
  const low = label === null ? Math.min(...outputs, 0) : 0, high = label === null ? Math.max(...outputs, 0) : 1;
  const shares = new Map(histogram.map((cell) => [cell.value, cell.reference]));
  const rows = answered.map(({ value, prediction }) => {
    const at = output(prediction, label);
    const left = ((Math.min(at, 0) - low) / (high - low || 1)) * 100;
    const share = shares.get(value);
    return h(
      "li",
      {},
      h("button", { class: "plain bar-label", dir: "auto", "aria-pressed": String(value === current), onclick: () => pick(value) }, value === null ? "(missing)" : value === "" ? "(empty)" : String(value)),
      h("span", { class: "bar-track", title: share === undefined ? "" : `${percent(share)} of the rows at training` }, h("span", { class: `bar ${value === current ? "in-set" : ""}`, style: { marginInlineStart: `${left}%`, width: `${Math.max((Math.abs(at) / (high - low || 1)) * 100, 0.3)}%` } })),
      h("span", { class: "bar-value" }, text(at)),
    );
  });
  return h("ul", { class: "bars levels" }, rows);
}

/** The values at which the predicted label changes. @param {{value: Value, prediction: any}[]} answered @param {string | null} label */
function answerChanges(answered, label) {
  if (label === null || typeof answered[0].value === "boolean") return null;
  const ordered = answered.filter(({ value }) => typeof value === "number" || seconds(value) !== null);
  const changes = ordered.slice(1).flatMap((right, position) => {
    const left = ordered[position];
    return left.prediction.label === right.prediction.label ? [] : [h("li", {}, `between ${shownValue(left.value)} and ${shownValue(right.value)}: `, h("bdi", {}, String(left.prediction.label)), " → ", h("bdi", {}, String(right.prediction.label)))];
  });
  if (ordered.length < answered.length / 2) return null;
  if (changes.length > FLIPS) changes.splice(FLIPS, changes.length, h("li", {}, `and ${countText(changes.length - FLIPS, "more time")}`));
  return changes.length ? h("div", { class: "flips" }, h("p", {}, "The answer changes"), h("ul", {}, changes)) : h("p", {}, "The answer stays the same over this range.");
}

/** @param {Value} value */
const shownValue = (value) => (typeof value === "number" ? number(value) : String(value));
