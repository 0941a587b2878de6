/** A curve over the histogram of the rows at training. A click chooses a value. */
import { h, svg } from "./dom.js";

const WIDTH = 480, HEIGHT = 200, LEFT = 46, RIGHT = 10, TOP = 10, BOTTOM = 24;

/**
 * @typedef {{x: number, y: number, low?: number, high?: number}} Point
 * @param {{points: Point[], bins: {from: number, to: number, share: number}[], current: number | null, label: string,
 *   xText: (x: number) => string, yText: (y: number) => string, yRange: [number, number] | null, pick: (x: number) => void}} options yRange: null for the range of the points
 */
export function curve({ points, bins, current, label, xText, yText, yRange, pick }) {
  const xs = points.map((point) => point.x);
  const x0 = Math.min(...xs), x1 = Math.max(...xs);
  const values = points.flatMap((point) => [point.y, point.low ?? point.y, point.high ?? point.y]);
  let [y0, y1] = yRange ?? [Math.min(...values), Math.max(...values)];
  if (y1 - y0 < 1e-12) [y0, y1] = [y0 - (Math.abs(y0) || 1) / 10, y1 + (Math.abs(y1) || 1) / 10];
  const x = (/** @type {number} */ at) => LEFT + ((at - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (/** @type {number} */ at) => TOP + (1 - (at - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
  const line = points.map((point) => `${x(point.x).toFixed(1)},${y(point.y).toFixed(1)}`);
  const banded = points.filter((point) => point.low !== undefined);
  const band = [...banded.map((point) => `${x(point.x)},${y(point.low ?? 0)}`), ...banded.reverse().map((point) => `${x(point.x)},${y(point.high ?? 0)}`)];
  const nearest = current === null ? null : points.reduce((best, point) => (Math.abs(point.x - current) < Math.abs(best.x - current) ? point : best));
  const choose = (/** @type {PointerEvent} */ event) => {
    const box = /** @type {Element} */ (event.currentTarget).getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH;
    pick(x0 + (Math.min(Math.max((at - LEFT) / (WIDTH - LEFT - RIGHT), 0), 1)) * (x1 - x0));
  };
  return h(
    "figure",
    { class: "curve" },
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, class: "pickable", onclick: choose },
      heights(bins, x0, x1).map(({ from, to, height }) =>
        svg("rect", { x: x(from), width: Math.max(0.5, x(to) - x(from) - 0.5), y: HEIGHT - BOTTOM - height * 0.6 * (HEIGHT - TOP - BOTTOM), height: height * 0.6 * (HEIGHT - TOP - BOTTOM), class: "bin" }),
      ),
      svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM, class: "axis" }),
      band.length > 2 && svg("polygon", { points: band.join(" "), class: "band" }),
      points.length > 1 && svg("polyline", { points: line.join(" "), class: "line" }),
      points.length === 1 && svg("circle", { cx: x(points[0].x), cy: y(points[0].y), r: 3, class: "mark" }),
      nearest && [svg("line", { x1: x(nearest.x), x2: x(nearest.x), y1: TOP, y2: HEIGHT - BOTTOM, class: "cursor" }), svg("circle", { cx: x(nearest.x), cy: y(nearest.y), r: 5, class: "mark" })],
      [y0, (y0 + y1) / 2, y1].map((at) => svg("text", { x: LEFT - 5, y: y(at) + 4, "text-anchor": "end" }, yText(at))),
      svg("text", { x: LEFT, y: HEIGHT - 6 }, xText(x0)),
      svg("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, xText(x1)),
    ),
  );
}

/** The bins within the range. Their areas are proportional to their shares, and the tallest bin has height 1. @param {{from: number, to: number, share: number}[]} bins @param {number} x0 @param {number} x1 */
function heights(bins, x0, x1) {
  const shown = bins
    .map(({ from, to, share }) => ({ from: Math.max(from, x0), to: Math.min(to, x1), density: share / (to - from || (x1 - x0) / 100) }))
    .filter(({ from, to }) => to > from);
  const top = Math.max(...shown.map((bin) => bin.density), 1e-300);
  return shown.map((bin) => ({ ...bin, height: bin.density / top }));
}
