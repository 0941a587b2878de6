/** The versions of a model side by side: a column for each. */
import { h } from "../components/dom.js";
import { number, percent } from "../components/numbers.js";
import { scrollable } from "../components/scrollable.js";
import { bestValue, measures } from "./quality.js";

/**
 * @typedef {{version: string, state: string, reason?: string, aliases: string[], traffic: number, metrics: import("./quality.js").Metrics, trained_at: string | null, manifest: string | null}} Version
 * @typedef {{model: string, generation: number, versions: Version[], previous?: string, shadow?: {alias: string, share: number}, rollback?: {after_rows: number, feedback?: boolean}}} VersionList
 * @typedef {{promote: (version: Version) => void}} Actions
 */

/** @param {Version[]} versions @param {Actions | null} changes null if the reader may not change anything @param {(version: Version) => void} openCard */
export function versionTable(versions, changes, openCard) {
  const heads = versions.map((one) => h("th", { scope: "col" }, `Version ${one.version}`));
  const rows = [
    row("Aliases", versions, (one) => one.aliases.map((alias) => [h("span", { class: `tag alias-${alias}` }, alias), " "])),
    row("Requests", versions, (one) => percent(one.traffic / 100)),
    row("State", versions, (one) => [h("span", { class: `state-${one.state}` }, one.state), one.reason && h("span", { class: "error-text reason" }, ` ${one.reason}`)]),
    row("Trained", versions, (one) => trainedText(one.trained_at)),
    ...measureRows(versions),
    row("Digest", versions, (one) => h("code", { title: one.manifest }, one.manifest?.slice(0, 12) ?? "–")),
    row("Card", versions, (one) => h("button", { "aria-label": `Card of version ${one.version}`, onclick: () => openCard(one) }, "Open card")),
    changes && row("Change", versions, (one) => promoteButton(one, changes)),
  ];
  return scrollable("Versions side by side", h("table", { class: "versions" }, h("thead", {}, h("tr", {}, h("td", {}), heads)), h("tbody", {}, rows)));
}

/** @param {string} name @param {Version[]} versions @param {(version: Version) => import("../components/dom.js").Child} cell */
const row = (name, versions, cell) => h("tr", {}, h("th", { scope: "row" }, name), versions.map((one) => h("td", { "data-version": one.version }, cell(one))));

/** @param {Version[]} versions */
function measureRows(versions) {
  const all = versions.map((one) => one.metrics);
  return measures(all).map((measure) => {
    const best = bestValue(measure, all);
    return row(measure.name, versions, ({ metrics }) => {
      const value = measure.of(metrics);
      return value === best && value !== undefined ? h("strong", {}, `${number(value)} (best)`) : number(value);
    });
  });
}

/** @param {string | null} moment */
const trainedText = (moment) => (moment ? new Date(moment).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) : "–");

/** @param {Version} version @param {Actions} changes */
function promoteButton(version, { promote }) {
  if (version.aliases.includes("champion")) return h("span", { class: "quiet" }, "is the champion");
  return h("button", { "aria-label": `Promote version ${version.version}`, onclick: () => promote(version) }, "Promote");
}
