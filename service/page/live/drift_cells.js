/** Describes the cells of a drift histogram as text. */
import { number } from "../components/numbers.js";

/**
 * @typedef {number | string | boolean | null} Limit
 * @typedef {{value?: Limit, above?: Limit, to?: Limit, group?: string, bucket?: number, reference: number, current: number}} Cell
 */

const MIDNIGHT = /T00:00:0\d\+00:00$/;

/** @param {Cell} cell */
export function cellName(cell) {
  if (cell.group) return cell.group;
  if (cell.bucket !== undefined) return `bucket ${cell.bucket}`;
  if ("value" in cell) return limitText(cell.value);
  if (isMissing(cell.above)) return isMissing(cell.to) ? "all values" : `up to ${limitText(cell.to)}`;
  return isMissing(cell.to) ? `above ${limitText(cell.above)}` : `${limitText(cell.above)} to ${limitText(cell.to)}`;
}

/** @param {Limit | undefined} limit */
const isMissing = (limit) => limit === null || limit === undefined;

/** @param {Limit | undefined} limit */
function limitText(limit) {
  if (typeof limit === "number") return number(limit);
  return limit === "" ? "(empty text)" : String(limit).replace(MIDNIGHT, "");
}

/** The cells that have rows, and all cells between numbers, which form the scale. @param {Cell[]} cells */
export const shownCells = (cells) => cells.filter((cell) => !cell.group || cell.reference || cell.current);
