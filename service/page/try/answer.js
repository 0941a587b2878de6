/** The model's answer to the row of a form: prediction, problems at their fields, predictions for other values, explanation. */
import { ApiError } from "../api.js";
import { h } from "../components/dom.js";
import { intervalBar } from "../components/interval_bar.js";
import { notice } from "../components/notice.js";
import { number, percent } from "../components/numbers.js";
import { probabilityBars } from "../components/probability_bars.js";
import { waterfall } from "../components/waterfall.js";
import { isRefusedOption } from "./predictions.js";
import { valuesToTry, whatIf } from "./what_if.js";

/**
 * @typedef {import("./feature.js").Feature} Feature
 * @typedef {import("./feature.js").Row} Row
 * @typedef {import("./feature.js").Value} Value
 * @typedef {import("../api.js").RowError} RowError
 */

export class Answer {
  /**
   * @param {{model: any, histograms: Record<string, import("./feature.js").Cell[]>, predictor: import("./predictions.js").Predictor,
   *   form: any, signal: AbortSignal, pick: (feature: Feature, value: Value) => void}} parts
   */
  constructor(parts) {
    this.parts = parts;
    this.prediction = h("section", { class: "panel prediction", "aria-live": "polite", "aria-label": "Prediction" });
    this.others = h("div", { class: "others" });
    this.reasons = h("div", { class: "reasons" });
    this.element = h("div", { class: "answer" }, this.prediction, this.others, this.reasons);
    /** @type {string | null} */
    this.label = null;
    this.invalid = false;
  }

  /** @param {Row} row @param {Feature} focused */
  async show(row, focused) {
    const { predictor, signal, form, model } = this.parts;
    try {
      const { version, predictions } = await predictor.predictUncertain("row", [row], {}, signal);
      const [prediction] = predictions;
      const recovered = this.invalid;
      this.invalid = false;
      this.showProblems(form, [], prediction.warnings ?? []);
      this.label = model.task === "regression" ? null : mostProbable(prediction.probabilities);
      this.prediction.replaceChildren(...predictionParts(model, prediction, version));
      this.stale(false);
      if (recovered) this.showExplanation(row); // the explanation of the last change was left out
      await this.showWhatIf(row, focused);
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      this.stale(true);
      this.invalid = true;
      const errors = error instanceof ApiError && error.status === 422 ? (error.problem.errors ?? []) : [];
      const elsewhere = this.showProblems(form, errors, []);
      if (errors.length) this.prediction.replaceChildren(h("p", { class: "error-text" }, errors.length === 1 ? "One value is not valid." : `${errors.length} values are not valid.`), ...elsewhere);
      else this.prediction.replaceChildren(notice(error, () => this.show(form.read(), focused)));
    }
  }

  /** Show each problem at its field. Returns the problems without a field. @param {any} form @param {RowError[]} errors @param {RowError[]} warnings */
  showProblems(form, errors, warnings) {
    for (const field of form.byName.values()) {
      const error = errors.find((one) => one.field === field.feature.name);
      const warning = warnings.find((one) => one.field === field.feature.name);
      field.say(atField((error ?? warning)?.message ?? ""), error ? "error" : warning ? "warning" : "");
    }
    const outside = [...errors, ...warnings].filter((one) => !form.byName.has(one.field));
    const links = errors.filter((one) => form.byName.has(one.field)).map((one) => h("li", {}, h("button", { class: "plain", onclick: () => reveal(form.byName.get(one.field)) }, h("bdi", {}, one.field ?? "")), ` ${atField(one.message)}`));
    return [...outside.map((one) => h("p", { class: "error-text" }, plain(one.message))), h("ul", { class: "plain-list" }, links)];
  }

  /** @param {Row} row @param {Feature} feature */
  async showWhatIf(row, feature) {
    const { predictor, signal, histograms, pick, model } = this.parts;
    if (!feature || this.invalid) return;
    const histogram = histograms[feature.name] ?? [];
    const current = row[feature.name];
    const values = valuesToTry(feature, histogram, current);
    if (!values.length) return void this.others.replaceChildren();
    const rows = values.map((value) => ({ ...row, [feature.name]: value }));
    try {
      const method = model.task === "regression" ? "predictUncertain" : "predict";
      const { predictions } = await predictor[method]("what-if", rows, { on_invalid: "skip" }, signal);
      const label = this.label ?? null;
      if (label === null && model.task !== "regression") return;
      const open = this.others.contains(document.activeElement) ? document.activeElement?.textContent : null;
      this.others.replaceChildren(whatIf({ feature, histogram, values, predictions, current, label, pick: (value) => pick(feature, value) }));
      if (open) [...this.others.querySelectorAll("button")].find((button) => button.textContent === open)?.focus();
    } catch (error) {
      if (!signal.aborted && !isAbort(error)) this.others.replaceChildren(notice(error));
    }
  }

  /** @param {Row} row @param {"true" | "fast"} [kind] */
  async showExplanation(row, kind = "true") {
    const { predictor, signal } = this.parts;
    if (this.invalid) return;
    try {
      const { predictions } = await predictor.predict("explanation", [row], { explain: kind }, signal);
      this.reasons.replaceChildren(reasonsPanel(waterfall(predictions[0].explanation)));
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      if (isRefusedOption(error)) this.reasons.replaceChildren(); // the version has no background rows for explanations
      else if (error instanceof ApiError && error.status === 422 && !error.problem.errors?.length && kind === "true") this.showExplanation(row, "fast");
      else if (error instanceof ApiError && error.status !== 422) {
        const again = h("button", { onclick: () => this.showExplanation(row, kind) }, "Try again");
        this.reasons.replaceChildren(reasonsPanel(h("p", { class: "quiet" }, `No explanation now: ${error.message}`), again));
      }
    }
  }

  /** @param {boolean} stale whether the shown content belongs to another row */
  stale(stale) {
    for (const element of [this.others, this.reasons]) element.classList.toggle("stale", stale);
  }
}

/** @param {...any} content */
function reasonsPanel(...content) {
  return h("section", { class: "panel" }, h("h3", {}, "Why? ", h("span", { class: "quiet" }, "what each column adds")), content);
}

/** The key of the predicted label. A label may be a number, but a key is text. @param {Record<string, number>} probabilities */
function mostProbable(probabilities) {
  return Object.entries(probabilities).reduce((best, one) => (one[1] > best[1] ? one : best))[0];
}

/** @param {any} model @param {any} prediction @param {string} version */
function predictionParts(model, prediction, version) {
  const title = h("h2", {}, h("bdi", {}, model.target), " ", h("span", { class: "tag" }, `version ${version}`));
  if (model.task === "regression") return [title, h("p", { class: "value" }, number(prediction.value)), intervalBar(prediction)];
  const labels = (prediction.set?.labels ?? []).map(String);
  const set = prediction.set && h("p", {}, `With ${percent(prediction.set.level)} probability it is one of: `, labels.map((label, position) => [position ? ", " : "", h("bdi", {}, label)]));
  return [title, h("p", { class: "value", dir: "auto" }, String(prediction.label)), probabilityBars(prediction.probabilities, labels), set ?? h("span", {})];
}

/** Focus a field, and open the group that contains it. @param {import("./fields.js").Field} field */
function reveal(field) {
  const group = field.element.closest("details");
  if (group) group.open = true;
  field.element.hidden = false;
  field.focus();
}

/** A message without the row number, which the page already shows. @param {string} message */
const plain = (message) => message.replace(/^row \d+, /, "");

/** A message without the row number and the column name, shown at the column's field. @param {string} message */
const atField = (message) => plain(message).replace(/^feature '.*?': /, "");

/** @param {unknown} error */
const isAbort = (error) => error instanceof DOMException && error.name === "AbortError";
