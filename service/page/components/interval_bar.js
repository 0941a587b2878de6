/** A predicted number with its interval on a line. */
import { h, svg } from "./dom.js";
import { number } from "./numbers.js";

const WIDTH = 400, PAD = 8;

/** @param {{value: number, interval?: {level: number, low: number, high: number}}} prediction */
export function intervalBar({ value, interval }) {
  if (!interval) return h("div", {});
  const width = interval.high - interval.low || Math.abs(value) || 1;
  const low = interval.low - width / 4, high = interval.high + width / 4;
  const x = (/** @type {number} */ at) => PAD + ((at - low) / (high - low)) * (WIDTH - 2 * PAD);
  const text = `${number(interval.level * 100)} % interval: ${number(interval.low)} to ${number(interval.high)}`;
  return h(
    "div",
    { class: "interval" },
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} 28`, role: "img", "aria-label": text },
      svg("line", { x1: PAD, x2: WIDTH - PAD, y1: 14, y2: 14, class: "axis" }),
      svg("rect", { x: x(interval.low), width: Math.max(2, x(interval.high) - x(interval.low)), y: 9, height: 10, rx: 3, class: "band" }),
      svg("circle", { cx: x(value), cy: 14, r: 6, class: "mark" }),
    ),
    h("p", {}, text),
  );
}
