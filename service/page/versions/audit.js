/** The audit of one model: its changes and their authors. */
import { h } from "../components/dom.js";
import { scrollable } from "../components/scrollable.js";

/** @typedef {{time: string, actor: string, action: string, model: string, from?: unknown, to?: unknown, generation: number, reason?: string | null}} AuditEntry */

const SHOWN = 20;

/** @param {AuditEntry[]} entries oldest first @param {string} model */
export function auditPanel(entries, model) {
  const own = entries.filter((entry) => entry.model === model).reverse();
  const heads = ["Time", "Action", "From", "To", "By", "Reason"].map((text) => h("th", { scope: "col" }, text));
  const rows = own
    .slice(0, SHOWN)
    .map((entry) => h("tr", {}, [new Date(entry.time).toLocaleString(), entry.action, stateText(entry.from), stateText(entry.to), entry.actor, entry.reason ?? ""].map((text) => h("td", {}, text))));
  const table = scrollable("Audit", h("table", {}, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows)));
  return h("section", { class: "panel audit" }, h("h2", {}, "Audit"), rows.length ? table : h("p", { class: "quiet" }, "Nothing was changed yet."));
}

/** The changed settings as text, such as `champion 3`. @param {unknown} state */
function stateText(state) {
  if (state === null || typeof state !== "object") return "–";
  return Object.entries(state)
    .filter(([name]) => name !== "history") // the history of champions is visible in the lines below
    .map(([name, value]) => `${name} ${value === null ? "–" : typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(", ");
}
