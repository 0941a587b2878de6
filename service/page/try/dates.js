/** Converts the dates of a form between the values of a row, the values of date fields, and seconds since 1970. */

/** @typedef {import("./feature.js").Feature} Feature */

const DAY = /^\d{4}-\d\d-\d\d$/;
const ISO = /^\d{4}-\d\d-\d\d([T ].*)?$/;

/** The type of the field for a column: `date`, `datetime-local`, or `text` for another format. @param {Feature} feature */
export function dateInput(feature) {
  const known = [feature.example, feature.seen?.min, feature.seen?.max].filter((value) => value !== null && value !== undefined);
  if (known.some((value) => seconds(value) === null)) return "text";
  return known.every((value) => DAY.test(String(value)) || (typeof value === "number" && value % 86400 === 0)) ? "date" : "datetime-local";
}

/** Seconds since 1970; null for a value that is neither a date in ISO 8601 nor a number. @param {unknown} value @returns {number | null} */
export function seconds(value) {
  if (typeof value === "number") return Math.abs(value) > 1e11 ? value / 1000 : value;
  if (typeof value !== "string" || !ISO.test(value)) return null;
  const text = value.replace(" ", "T");
  const zoned = DAY.test(text) || /(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`;
  const parsed = Date.parse(zoned);
  return Number.isNaN(parsed) ? null : parsed / 1000;
}

/** @param {number} time in seconds @param {string} type of the field */
export function dateText(time, type) {
  const text = new Date(time * 1000).toISOString();
  return type === "date" ? text.slice(0, 10) : text.slice(0, 19);
}
