/** Reads the text of `/metrics`, which is in Prometheus' text format. */

/** @typedef {{name: string, labels: Record<string, string>, value: number}} Series */

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;
/** @type {Record<string, string>} */
const ESCAPED = { n: "\n" };

/**
 * @param {string} text
 * @param {Set<string>} names the metrics to read, with the suffixes that they have in the text, such as `_total` or `_bucket`
 * @returns {Series[]}
 */
export function parseMetrics(text, names) {
  const found = [];
  for (const line of text.split("\n")) {
    const end = line.search(/[{ ]/);
    if (line.startsWith("#") || !names.has(line.slice(0, end))) continue;
    const parts = LINE.exec(line);
    if (parts) found.push({ name: parts[1], labels: parseLabels(parts[2] ?? ""), value: parseValue(parts[3]) });
  }
  return found;
}

/** @param {string} text @returns {Record<string, string>} */
function parseLabels(text) {
  const unescape = (/** @type {string} */ value) => value.replace(/\\(.)/gs, (_, letter) => ESCAPED[letter] ?? letter);
  return Object.fromEntries([...text.matchAll(LABEL)].map(([, name, value]) => [name, unescape(value)]));
}

/** @param {string} text */
export function parseValue(text) {
  return text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);
}
