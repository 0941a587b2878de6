/** The drift of one model: how current rows and predictions differ from those at training. */
import { getJson, isTemporary } from "../api.js";
import { h } from "../components/dom.js";
import { message, notice } from "../components/notice.js";
import { countText, number, percent } from "../components/numbers.js";
import { pairedBars } from "../components/paired_bars.js";
import { redraw } from "../components/redraw.js";
import { scrollable } from "../components/scrollable.js";
import { cellName, shownCells } from "./drift_cells.js";
import { repeat } from "./polling.js";

/**
 * @typedef {import("./drift_cells.js").Cell} Cell
 * @typedef {{name: string, type?: string, psi: number, p: number, missing?: {reference: number, current: number}, unseen?: number, outside: number, status: string, histogram: Cell[]}} Column
 * @typedef {{status: string, reason?: string, version: string, window: {from: string, to: string, rows: number, sampled: number}, columns: Column[], prediction: Column | null, estimated: Record<string, number> | null, refused?: Refused}} Report
 * @typedef {{rows: number, errors: Record<string, number>}} Refused errors: by column
 */

const PREDICTION = "prediction";
const REFRESH_S = 10;
const COLUMNS_SHOWN = 12, REFUSED_SHOWN = 8;
const WINDOWS = { "": "the last hour, or longer with few rows", "15m": "the last 15 minutes", "1h": "the last hour", "24h": "the last 24 hours", "7d": "the last 7 days" };
const SEVERITY = ["alarm", "warning", "ok", "small_sample"];
/** @type {Record<string, string>} */
const STATUS_TEXT = { alarm: "alarm", warning: "warning", ok: "no drift found", small_sample: "too few rows", no_reference: "nothing to compare with" };
/** @type {Record<string, string>} */
const EXPLAINED = {
  alarm: "At least one column differs much from training, and not by chance.",
  warning: "At least one column differs from training, and not by chance.",
  ok: "Rows and predictions are like those at training.",
  small_sample: "A comparison needs 200 rows.",
};

/** @param {string} model @param {HTMLElement} picker chooses another model @param {AbortSignal} signal @returns {HTMLElement} */
export function driftPanel(model, picker, signal) {
  const content = h("div", {}, h("p", { class: "quiet" }, "Loading …"));
  const shown = { window: "", column: "", all: false };
  /** @type {Report | null} */
  let report = null;
  const draw = () => report && redraw(content, driftReport(report, shown, draw));
  const load = async () => {
    const { window } = shown;
    try {
      const found = await driftOf(model, window, signal);
      if (window !== shown.window) return true; // another window was chosen meanwhile
      report = found;
      draw();
      return true;
    } catch (error) {
      if (!signal.aborted && !(report && isTemporary(error))) content.replaceChildren(notice(error, load));
      return isTemporary(error);
    }
  };
  const choose = (/** @type {any} */ event) => {
    shown.window = event.target.value;
    load();
  };
  const windows = h("select", { onchange: choose }, Object.entries(WINDOWS).map(([value, text]) => h("option", { value }, text)));
  repeat(load, REFRESH_S, signal);
  return h("section", { class: "panel drift", "aria-labelledby": "drift-title" }, h("h2", { id: "drift-title" }, `Drift of ${model}`), h("div", { class: "choices" }, picker, h("label", { class: "inline" }, "Window ", windows)), content);
}

/** @param {string} model @param {string} window empty: the default @param {AbortSignal} signal @returns {Promise<Report>} */
export function driftOf(model, window, signal) {
  return getJson(`drift?${new URLSearchParams({ model, window, histograms: "true" })}`, signal);
}

/**
 * @param {Report} report
 * @param {{column: string, all: boolean}} shown
 * @param {() => void} draw
 * @returns {HTMLElement[]}
 */
function driftReport(report, shown, draw) {
  if (report.status === "no_reference") return [message("There is nothing to compare with.", h("p", {}, report.reason ?? ""))];
  const { window, refused, estimated } = report;
  const columns = sorted(report);
  const chosen = columns.find((column) => column.name === shown.column) ?? columns[0];
  const visible = shown.all ? columns : columns.slice(0, COLUMNS_SHOWN);
  const choose = (/** @type {Column} */ column) => {
    shown.column = column.name;
    draw();
  };
  const showAll = () => {
    shown.all = true;
    draw();
  };
  return [
    h("p", { role: "status" }, statusTag(report.status), " ", EXPLAINED[report.status] ?? "", h("span", { class: "quiet" }, ` Version ${report.version}, ${countText(window.rows, "row")}, ${countText(window.sampled, "row")} counted.`)),
    refused?.rows ? refusedRows(refused) : h("span", {}),
    estimated ? h("p", { class: "quiet" }, estimateText(estimated)) : h("span", {}),
    h(
      "div",
      { class: "drift-columns" },
      h("div", {}, columnTable(visible, chosen, choose), columns.length > visible.length && h("button", { onclick: showAll }, `Show all ${columns.length}`)),
      pairedBars(`Rows by ${titleOf(chosen)}`, shownCells(chosen.histogram).map((cell) => ({ ...cell, name: cellName(cell) }))),
    ),
  ];
}

/** The prediction, then the columns with the largest drift first. @param {Report} report @returns {Column[]} */
function sorted({ columns, prediction }) {
  const worstFirst = [...columns].sort((a, b) => SEVERITY.indexOf(a.status) - SEVERITY.indexOf(b.status) || b.psi - a.psi);
  return prediction ? [{ ...prediction, name: "", type: PREDICTION }, ...worstFirst] : worstFirst;
}

/** @param {Column} column */
const titleOf = (column) => (column.type === PREDICTION ? "prediction" : column.name);

/** @param {Column[]} columns @param {Column} chosen @param {(column: Column) => void} choose */
function columnTable(columns, chosen, choose) {
  const heads = ["Column", "Status", "PSI", "Missing", "New or outside"].map((text, place) => h("th", { scope: "col", class: place > 1 && "number" }, text));
  const rows = columns.map((column) =>
    h(
      "tr",
      { class: column === chosen && "chosen" },
      h("th", { scope: "row" }, h("button", { class: "plain", dir: "auto", "data-key": `column ${column.name}`, "aria-pressed": String(column === chosen), onclick: () => choose(column) }, titleOf(column))),
      h("td", {}, statusTag(column.status)),
      h("td", { class: "number" }, number(column.psi)),
      h("td", { class: "number" }, column.missing ? percent(column.missing.current) : ""),
      h("td", { class: "number" }, percent(column.type === "category" ? column.unseen : column.outside)),
    ),
  );
  return scrollable("Columns by drift", h("table", {}, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows)));
}

/** @param {string} status */
const statusTag = (status) => h("span", { class: `tag status-${status}`, "data-status": status }, STATUS_TEXT[status] ?? status);

/** The refused rows, which are not part of the comparison. @param {Refused} refused */
function refusedRows({ rows, errors }) {
  const worst = Object.entries(errors).sort((one, other) => other[1] - one[1]);
  const listed = worst.slice(0, REFUSED_SHOWN).map(([name, count], place) => [place ? ", " : "", name ? h("bdi", {}, name) : "no known column", ` ${count.toLocaleString("en")}`]);
  const more = worst.length > REFUSED_SHOWN ? `, and ${countText(worst.length - REFUSED_SHOWN, "more column")}` : "";
  return h("p", { class: "refused" }, h("span", { class: "error-text" }, `${countText(rows, "row")} refused.`), worst.length > 0 && h("span", {}, " Errors by column: ", listed, more, "."));
}

/** @param {Record<string, number>} estimated */
function estimateText({ reference, measured, ...metric }) {
  const [name, value] = Object.entries(metric)[0];
  return `Estimated ${name} of these rows: ${number(value)}. For the held-out rows the estimate was ${number(reference)}, and ${number(measured)} was measured.`;
}
