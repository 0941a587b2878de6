/** Formats numbers. */

/** Formats a number with four significant digits, or more if its whole part is larger: 4.132, 241,300, 0.00012. @param {number | null | undefined} value */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en");
  if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e15)) return value.toExponential(3).replace("e+", "e");
  const digits = Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

/** @param {number | null | undefined} value between 0 and 1 */
export function percent(value) {
  return value === null || value === undefined ? "–" : `${(value * 100).toLocaleString("en", { maximumFractionDigits: 1 })} %`;
}

/** The noun that follows a number. @param {number} count @param {string} one @param {string} [many] */
export function nounText(count, one, many = `${one}s`) {
  return count === 1 ? one : many;
}

/** @param {number} count @param {string} one @param {string} [many] */
export function countText(count, one, many) {
  return `${count.toLocaleString("en")} ${nounText(count, one, many)}`;
}
