/** A column of a model's schema, with its values at training. */
import { countText } from "../components/numbers.js";
import { seconds } from "./dates.js";

/**
 * @typedef {string | number | boolean | null} Value
 * @typedef {Record<string, Value>} Row
 * @typedef {{value?: Value, above?: Value, to?: Value, group?: string, reference: number}} Cell of a histogram
 * @typedef {{min?: any, max?: any, levels?: Value[] | null, count?: number | null, type?: string | null, hashed?: number | null}} Seen
 * @typedef {{name: string, kind: "number" | "boolean" | "category" | "date" | "text", nullable: boolean, minimum?: any, maximum?: any, unseen?: string | null,
 *   date_format?: string | null, seen?: Seen, example?: Value}} Feature
 */

/** Whether all known values of a column of numbers are whole. @param {Feature} feature */
export function isWhole(feature) {
  const known = [feature.seen?.min, feature.seen?.max, feature.example].filter((value) => typeof value === "number");
  return known.length > 0 && known.every(Number.isInteger);
}

/**
 * The range to explore: the range at training without long tails, within the declared limits. Dates are in seconds.
 * @param {Feature} feature @param {Cell[]} [histogram] @returns {[number, number] | null}
 */
export function range(feature, histogram = []) {
  const number = feature.kind === "date" ? seconds : (/** @type {any} */ value) => (typeof value === "number" ? value : null);
  const seen = [number(feature.seen?.min ?? null), number(feature.seen?.max ?? null)];
  let low = number(feature.minimum ?? null) ?? seen[0];
  let high = number(feature.maximum ?? null) ?? seen[1];
  if (low === null || high === null) return null;
  if (seen[0] !== null) low = Math.max(low, seen[0]);
  if (seen[1] !== null) high = Math.min(high, seen[1]);
  const edges = histogram.flatMap((cell) => [cell.above, cell.to, cell.value]).map((value) => number(value ?? null)).filter((value) => value !== null);
  if (edges.length > 2) {
    const [first, last] = [Math.min(...edges), Math.max(...edges)];
    const reach = last - first;
    [low, high] = [Math.max(low, first - reach), Math.min(high, last + reach)];
    if (isWhole(feature)) [low, high] = [Math.floor(low), Math.ceil(high)];
  }
  return low < high ? [low, high] : null;
}

/** A line with the properties of a column. @param {Feature} feature */
export function hint(feature) {
  const parts = [];
  if (feature.minimum != null || feature.maximum != null) parts.push(`allowed: ${ends(feature.minimum, feature.maximum)}`);
  if (feature.seen?.min != null) parts.push(`seen: ${ends(feature.seen.min, feature.seen.max)}`);
  const levels = feature.seen?.count ?? feature.seen?.levels?.length;
  if (feature.kind === "category" && levels) parts.push(countText(levels, "level"));
  if (feature.unseen === "error") parts.push("no others");
  if (feature.nullable) parts.push("may be missing");
  return parts.join(" · ");
}

/** @param {any} low @param {any} high */
function ends(low, high) {
  if (low == null) return `up to ${high}`;
  return high == null ? `from ${low}` : `${low} to ${high}`;
}
