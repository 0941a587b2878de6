/** The Try view: a row in a form, and the model's predictions while the row changes. */
import { getJson } from "../api.js";
import { h } from "../components/dom.js";
import { modelPicker } from "../components/model_picker.js";
import { address, remember } from "../router.js";
import { Answer } from "../try/answer.js";
import { fileScoring } from "../try/file_scoring.js";
import { debounced, Predictor } from "../try/predictions.js";
import { rowForm } from "../try/row_form.js";
import { copyPanel, snippets } from "../try/snippets.js";

/** @typedef {import("../try/feature.js").Row} Row */

const PREDICT_MS = 120, EXPLAIN_MS = 450; // time without a change before a request is sent

/** @param {HTMLElement} main @param {import("../router.js").Route} route @param {AbortSignal} signal */
export async function show(main, route, signal) {
  const { name, picker } = await modelPicker("try", route, signal);
  main.append(h("h1", {}, "Try"), picker);
  if (!name) return;
  const model = await getJson(`models/${encodeURIComponent(name)}?histograms=true`, signal);
  const features = model.schema.features;
  const importance = importantFirst(model);
  const predictor = new Predictor(name, model.task, Boolean(model.metrics?.uncertainty));
  const copies = h("div", {});
  const histograms = model.histograms ?? {};
  let focused = features.find((/** @type {any} */ feature) => feature.name === (route.query.get("focus") ?? importance[0])) ?? features[0];

  const form = rowForm({
    features,
    histograms,
    importance,
    changed: () => refresh(),
    focused: (feature) => {
      if (feature === focused) return;
      focused = feature;
      answer.showWhatIf(form.read(), focused);
      keep();
    },
  });
  const answer = new Answer({ model, histograms, predictor, form, signal, pick: (feature, value) => {
    form.byName.get(feature.name)?.write(value);
    refresh();
  } });
  const explain = debounced(EXPLAIN_MS, () => answer.showExplanation(form.read()));
  const predict = debounced(PREDICT_MS, () => answer.show(form.read(), focused));
  const keep = debounced(PREDICT_MS, () => {
    if (signal.aborted) return;
    const row = form.read();
    const hash = address("try", name, { row: JSON.stringify(row), ...(focused && { focus: focused.name }) });
    remember(hash);
    copies.replaceChildren(copyPanel(snippets(predictor.path, predictor.uncertainty, row), new URL(hash, document.baseURI).href));
  });
  const refresh = () => {
    predict();
    explain();
    keep();
  };
  const examples = model.examples.map((/** @type {any} */ example) => example.row);
  const start = (/** @type {Row} */ row) => {
    form.write(row, true);
    refresh();
  };
  form.write(examples[0] ?? exampleOf(features), true);
  const linked = rowOf(route.query.get("row"));
  if (linked) form.write({ ...form.read(), ...linked }, false);
  refresh();
  main.append(
    h(
      "div",
      { class: "side-by-side" },
      h("section", { class: "panel", "aria-label": "Row" }, tools(examples, start, predictor, model.task, refresh), form.element),
      h("div", { class: "answers" }, answer.element, copies),
    ),
    fileScoring({ model, predictor, signal }),
  );
}

/** @param {Row[]} examples @param {(row: Row) => void} start @param {Predictor} predictor @param {string} task @param {() => void} refresh */
function tools(examples, start, predictor, task, refresh) {
  const buttons = examples.map((row, number) => h("button", { type: "button", onclick: () => start(row) }, `Example ${number + 1}`));
  const levels = ["0.5", "0.8", "0.9", "0.95"].map((level) => h("option", { value: level, selected: level === predictor.level }, `${Number(level) * 100} %`));
  const choose = (/** @type {Event} */ event) => {
    predictor.level = /** @type {HTMLSelectElement} */ (event.target).value;
    refresh();
  };
  const level = predictor.option && h("label", { class: "level" }, task === "regression" ? "Interval " : "Label set ", h("select", { onchange: choose }, levels));
  return h("div", { class: "row" }, buttons, level);
}

/** The names of the columns, the most important first; empty if training has not measured the importance. @param {any} model @returns {string[]} */
function importantFirst(model) {
  return (model.metrics?.importance ?? []).map((/** @type {any} */ column) => column.name);
}

/** @param {import("../try/feature.js").Feature[]} features @returns {Row} */
function exampleOf(features) {
  return Object.fromEntries(features.map((feature) => [feature.name, feature.example ?? null]));
}

/** The row in a link; null if it is not valid. @param {string | null} text @returns {Row | null} */
function rowOf(text) {
  try {
    const row = JSON.parse(text ?? "null");
    return row && typeof row === "object" && !Array.isArray(row) ? row : null;
  } catch {
    return null;
  }
}
