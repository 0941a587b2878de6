/** A chart with one or more lines for the last minutes. */
import { h, svg } from "./dom.js";
import { number } from "./numbers.js";

/**
 * @typedef {{name: string, style: "first" | "second" | "bad", values: (number | null)[]}} Line null: a gap, because there is no value
 * @typedef {{title: string, unit: string, seconds: number, format?: (value: number) => string}} ChartOptions
 */

const WIDTH = 360;
const HEIGHT = 120;
const MARGIN = { left: 44, right: 8, top: 8, bottom: 18 };

/**
 * @param {number[]} times in seconds, ascending
 * @param {Line[]} lines
 * @param {ChartOptions} options seconds: the time span of the chart
 * @returns {HTMLElement}
 */
export function timeChart(times, lines, { title, unit, seconds, format = number }) {
  const now = times.at(-1) ?? 0;
  const top = niceLimit(Math.max(0, ...lines.flatMap((line) => line.values.map((value) => value ?? 0))));
  const x = (/** @type {number} */ time) => MARGIN.left + (1 - (now - time) / seconds) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (/** @type {number} */ value) => HEIGHT - MARGIN.bottom - (value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const latest = lines.map((line) => ({ ...line, value: line.values.at(-1) }));
  const summary = latest.map(({ name, value }) => `${name} ${valueText(value, unit, format)}`).join(", ");
  return h(
    "figure",
    { class: "chart" },
    h("figcaption", {}, h("strong", {}, title), h("ul", { class: "legend" }, latest.map((line) => legendEntry(line, valueText(line.value, unit, format))))),
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title} of the last ${Math.round(seconds / 60)} minutes, now: ${summary}` },
      [0, top / 2, top].map((value) => gridLine(y(value), format(value))),
      timeLabel(x(now - seconds), "start", `−${Math.round(seconds / 60)} min`),
      timeLabel(x(now), "end", "now"),
      lines.map((line) => svg("path", { class: `line ${line.style}`, d: pathOf(times.map(x), line.values, y) })),
    ),
  );
}

/** @param {number | null | undefined} value @param {string} unit @param {(value: number) => string} format */
const valueText = (value, unit, format) => (value === null || value === undefined ? "–" : `${format(value)}${unit && ` ${unit}`}`);

/** @param {Line} line @param {string} value */
const legendEntry = (line, value) => h("li", { class: `key ${line.style}` }, `${line.name} `, h("strong", { "data-line": line.name }, value));

/** @param {number} y @param {string} text */
function gridLine(y, text) {
  return [
    svg("line", { class: "grid", x1: MARGIN.left, x2: WIDTH - MARGIN.right, y1: y, y2: y }),
    svg("text", { x: MARGIN.left - 5, y: y + 4, "text-anchor": "end" }, text),
  ];
}

/** @param {number} x @param {string} anchor @param {string} text */
const timeLabel = (x, anchor, text) => svg("text", { x, y: HEIGHT - 4, "text-anchor": anchor }, text);

/** @param {number[]} xs @param {(number | null)[]} values @param {(value: number) => number} y */
function pathOf(xs, values, y) {
  let path = "";
  let joined = false;
  values.forEach((value, index) => {
    if (value === null) joined = false;
    else {
      // A single value between gaps is drawn as a short line
      const point = `${xs[index].toFixed(1)},${y(value).toFixed(1)}`;
      path += joined ? `L${point}` : `M${point}h.1`;
      joined = true;
    }
  });
  return path;
}

/** The smallest number of the form 1, 2 or 5 times a power of ten that is not below a value. @param {number} value */
export function niceLimit(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((limit) => limit >= value * (1 - 1e-9)) ?? 10 * power;
}
