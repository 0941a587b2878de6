/** Scores a file: a CSV or Parquet file is sent unchanged, and the result can be downloaded. */
import { ApiError } from "../api.js";
import { h } from "../components/dom.js";
import { notice } from "../components/notice.js";
import { countText, percent } from "../components/numbers.js";
import { scrollable } from "../components/scrollable.js";
import { completeResult, encodingOf, joinedFile } from "./joined_file.js";
import { upload } from "./upload.js";

const PARQUET_START = "PAR1";

/** @param {{model: any, predictor: import("./predictions.js").Predictor, signal: AbortSignal}} parts */
export function fileScoring({ model, predictor, signal }) {
  const input = h("input", { id: "file", type: "file", accept: ".csv,.tsv,.txt,.parquet,text/csv", onchange: () => input.files?.[0] && start(input.files[0]) });
  const result = h("div", { class: "scored", "aria-live": "polite" });
  let running = new AbortController();
  let address = ""; // the address of the result, which the browser keeps until the address is revoked
  signal.addEventListener("abort", () => { running.abort(); URL.revokeObjectURL(address); });

  /** @param {File} file */
  async function start(file) {
    running.abort();
    running = new AbortController();
    URL.revokeObjectURL(address);
    const own = running.signal;
    const bar = h("progress", { max: 1, value: 0, "aria-label": "Progress" });
    const text = h("span", {});
    const stop = h("button", { onclick: () => { running.abort(); result.replaceChildren(h("p", {}, "Stopped.")); } }, "Stop");
    result.replaceChildren(h("p", { class: "row" }, bar, text, stop));
    try {
      const scored = await score(file, model, predictor, own, (share) => {
        bar.value = share;
        text.textContent = share < 1 ? `${file.name}: ${percent(share)} sent` : "predicting …";
      });
      if (!own.aborted) {
        address = URL.createObjectURL(scored.result);
        result.replaceChildren(...resultParts(file, scored, address));
      }
    } catch (error) {
      if (!own.aborted) result.replaceChildren(failure(error, () => start(file)));
    }
    input.value = ""; // so that the same file can be chosen again
  }

  const zone = h(
    "section",
    { class: "panel drop", "aria-labelledby": "file-title" },
    h("h2", { id: "file-title" }, "Score a file"),
    h("p", {}, h("label", { for: "file" }, "Drop a CSV or Parquet file anywhere on this page, or choose one. "), h("span", { class: "quiet" }, "It goes to this server only.")),
    input,
    result,
  );
  onDrop(zone, signal, start);
  return zone;
}

/** Accept a file that is dropped anywhere on the page, because the browser would otherwise open it. @param {HTMLElement} zone @param {AbortSignal} signal @param {(file: File) => void} start */
function onDrop(zone, signal, start) {
  /** @param {DragEvent} event */
  const over = (event) => {
    event.preventDefault();
    zone.classList.toggle("over", event.type === "dragover");
  };
  /** @param {DragEvent} event */
  const drop = (event) => {
    over(event);
    const file = event.dataTransfer?.files[0];
    if (file) start(file);
    zone.scrollIntoView({ block: "nearest" });
  };
  addEventListener("dragover", over, { signal });
  addEventListener("dragleave", over, { signal });
  addEventListener("drop", drop, { signal });
}

/** @param {File} file @param {any} model @param {import("./predictions.js").Predictor} predictor @param {AbortSignal} signal @param {(share: number) => void} progress */
async function score(file, model, predictor, signal, progress) {
  const parquet = (await file.slice(0, PARQUET_START.length).text()) === PARQUET_START;
  const encoding = parquet ? "" : await encodingOf(file, model.schema.encoding);
  const type = parquet ? "application/vnd.apache.parquet" : encoding === "utf-8" ? "text/csv" : `text/csv; charset=${encoding}`;
  const query = new URLSearchParams({ on_invalid: "skip", ...predictor.uncertainty, ...(parquet && { inputs: "true" }) });
  const answer = await upload(`${predictor.path}?${query}`, file, { "Content-Type": type, Accept: "text/csv" }, signal, progress);
  return parquet ? completeResult(answer) : joinedFile(file, encoding, answer);
}

/** @param {File} file @param {import("./joined_file.js").Scored} scored @param {string} address of the result */
function resultParts(file, scored, address) {
  const name = `${file.name.replace(/\.[^.]*$/, "")}-predictions.csv`;
  const link = h("a", { class: "button main", href: address, download: name }, `Download ${name}`);
  const what = scored.joined ? "It has the columns of the file and the predictions to their right." : "It has a line with the prediction for each row, in the order of the file.";
  const parts = [
    h("p", {}, h("strong", {}, `${countText(scored.rows - scored.invalid, "row")} predicted`), scored.invalid ? `, ${countText(scored.invalid, "row")} not valid` : "", scored.warned ? `, ${countText(scored.warned, "row")} with warnings` : ""),
    h("p", { class: "row" }, link, h("span", { class: "quiet" }, what)),
  ];
  if (scored.problems.length) parts.push(problemTable(scored));
  return parts;
}

/** @param {import("./joined_file.js").Scored} scored */
function problemTable({ problems, invalid }) {
  const rows = problems.map(({ row, message }) => h("tr", {}, h("td", { class: "number" }, row + 1), h("td", { dir: "auto" }, message.replaceAll(/row \d+(, |: )/g, ""))));
  const more = invalid > problems.length && h("p", { class: "quiet" }, `The first ${problems.length} of ${invalid.toLocaleString("en")}. The column "error" of the result has all.`);
  const head = h("tr", {}, h("th", { scope: "col", class: "number" }, "Row"), h("th", { scope: "col" }, "Problem"));
  return h("div", {}, scrollable("Rows that are not valid", h("table", {}, h("thead", {}, head), h("tbody", {}, rows))), more);
}

/** @param {any} error @param {() => void} retry */
function failure(error, retry) {
  const box = notice(error, retry);
  const details = error instanceof ApiError ? (error.problem.errors ?? []) : [];
  if (details.length) box.append(h("ul", {}, details.slice(0, 20).map((one) => h("li", { dir: "auto" }, one.message))));
  return box;
}
