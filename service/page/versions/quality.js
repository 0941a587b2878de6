/** The metrics by which versions are compared, and which of their values are better. */

/** @typedef {{network?: Record<string, number>, uncertainty?: {level: number, coverage?: number, mean_width?: number, mean_size?: number}}} Metrics */
/** @typedef {{name: string, better: "lower" | "higher" | "", of: (metrics: Metrics) => number | undefined}} Measure */

const LOWER = new Set(["rmse", "mae", "log_loss", "calibration_error"]);
/** @type {Measure[]} */
const INTERVALS = [
  { name: "level of intervals or sets", better: "", of: (metrics) => metrics.uncertainty?.level },
  { name: "rows within", better: "", of: (metrics) => metrics.uncertainty?.coverage },
  { name: "mean width", better: "lower", of: (metrics) => metrics.uncertainty?.mean_width },
  { name: "labels per set", better: "lower", of: (metrics) => metrics.uncertainty?.mean_size },
];

/** The measures that at least one version has. @param {Metrics[]} versions @returns {Measure[]} */
export function measures(versions) {
  const names = new Set(versions.flatMap((metrics) => Object.keys(metrics.network ?? {})));
  const own = [...names].map((name) => ({ name, better: LOWER.has(name) ? "lower" : "higher", of: (/** @type {Metrics} */ metrics) => metrics.network?.[name] }));
  return /** @type {Measure[]} */ ([...own, ...INTERVALS]).filter((measure) => versions.some((metrics) => measure.of(metrics) !== undefined));
}

/** The best value of a measure among versions that differ. @param {Measure} measure @param {Metrics[]} versions */
export function bestValue(measure, versions) {
  const values = versions.map(measure.of).filter((value) => value !== undefined);
  if (!measure.better || new Set(values).size < 2) return undefined;
  return measure.better === "lower" ? Math.min(...values) : Math.max(...values);
}
