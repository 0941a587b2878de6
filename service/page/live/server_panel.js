/** Requests, latency, errors, queue and workers of the server, from the server's counters. */
import { h } from "../components/dom.js";
import { countText, nounText, number, percent } from "../components/numbers.js";
import { scrollable } from "../components/scrollable.js";
import { timeChart } from "../components/time_chart.js";
import { requestsOf, totalOf } from "./counts.js";
import { SECONDS_KEPT } from "./history.js";

/** @typedef {import("./history.js").History} History */

const RECENT_S = 60;
const MEBIBYTE = 2 ** 20;

/** @param {History} history @returns {HTMLElement[]} */
export function serverPanel(history) {
  const last = history.last;
  if (!last) return [];
  const total = totalOf(last.counts);
  return [
    h(
      "p",
      {},
      h("strong", { "data-total": "requests" }, number(requestsOf(total))),
      ` ${nounText(requestsOf(total), "request")} and `,
      h("strong", { "data-total": "rows" }, number(total.rows)),
      ` ${nounText(total.rows, "row")} since the server started. `,
      h("strong", { "data-total": "failed" }, number(total.failed)),
      " failed (status 500 and above), ",
      h("strong", { "data-total": "refused" }, number(total.refused)),
      ` ${nounText(total.refused, "was", "were")} refused (400 to 499).`,
    ),
    last.counts.problems > 0 && h("p", { class: "error-text" }, `${countText(last.counts.problems, "version")} cannot be loaded.`),
    last.counts.lost > 0 && h("p", { class: "error-text" }, `${countText(last.counts.lost, "time series", "time series")} cannot be counted: the temporary folder is full.`),
    charts(history),
    h("div", { class: "panel" }, h("h2", {}, "Models"), versionTable(history)),
    h("div", { class: "panel" }, h("h2", {}, "Workers"), workerTable(history)),
  ].filter((part) => part instanceof HTMLElement);
}

/** @param {History} history */
function charts(history) {
  const points = history.points();
  const times = points.map((point) => point.time);
  const line = (/** @type {string} */ name, /** @type {"first" | "second" | "bad"} */ style, /** @type {(point: import("./history.js").Point) => number | null} */ value) => ({
    name,
    style,
    values: points.map(value),
  });
  const common = { seconds: SECONDS_KEPT };
  return h(
    "div",
    { class: "charts" },
    timeChart(times, [line("requests", "first", (point) => point.requests), line("rows", "second", (point) => point.rows)], { ...common, title: "Answered per second", unit: "" }),
    timeChart(times, [line("median", "first", (point) => inMilliseconds(point.p50)), line("99 %", "second", (point) => inMilliseconds(point.p99))], { ...common, title: "Latency", unit: "ms" }),
    timeChart(times, [line("failed", "bad", (point) => point.failed), line("refused", "second", (point) => point.refused)], { ...common, title: "Errors per second", unit: "" }),
    timeChart(times, [line("waiting", "first", (point) => point.queue), line("in progress", "second", (point) => point.inflight)], { ...common, title: "Rows in the server", unit: "" }),
  );
}

/** @param {number | null} seconds */
const inMilliseconds = (seconds) => (seconds === null ? null : seconds * 1000);

/** @param {History} history */
function versionTable(history) {
  const versions = [...(history.last?.counts.versions ?? [])];
  const rows = versions.map(([key, version]) => {
    const recent = history.recent(key, RECENT_S);
    const latency = [recent.p50, recent.p99].map((seconds) => number(inMilliseconds(seconds)));
    const cells = [number(requestsOf(version)), number(version.rows), number(version.failed), number(recent.requests), ...latency, number(version.queue)];
    return h("tr", { "data-version": key }, h("th", { scope: "row" }, `${version.model}:${version.version}`), cells.map((text) => h("td", { class: "number" }, text)));
  });
  const heads = ["Version", "Requests", "Rows", "Failed", "Requests/s", "Median ms", "99 % ms", "Waiting"];
  return dataTable("Requests by version; the last four columns are of the last minute", heads, rows);
}

/** @param {History} history */
function workerTable(history) {
  const shares = history.processorShares();
  const rows = (history.last?.counts.workers ?? []).map((worker) => {
    const cells = [shares.has(worker.pid) ? percent(shares.get(worker.pid)) : "–", `${number(Math.round(worker.memory / MEBIBYTE))} MiB`, new Date(worker.started * 1000).toLocaleString()];
    return h("tr", { "data-worker": worker.pid }, h("th", { scope: "row" }, worker.pid), cells.map((text) => h("td", { class: "number" }, text)));
  });
  return dataTable("Worker processes", ["Process", "Processor", "Memory", "Since"], rows);
}

/** @param {string} label @param {string[]} heads @param {HTMLElement[]} rows */
function dataTable(label, heads, rows) {
  const cells = heads.map((text, place) => h("th", { scope: "col", class: place > 0 && "number" }, text));
  return scrollable(label, h("table", {}, h("thead", {}, h("tr", {}, cells)), h("tbody", {}, rows)));
}
