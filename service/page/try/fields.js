/** The fields of a form: one for each column, by its type. */
import { combobox } from "../components/combobox.js";
import { h } from "../components/dom.js";
import { dateInput, dateText, seconds } from "./dates.js";
import { hint, isWhole, range } from "./feature.js";

/**
 * @typedef {import("./feature.js").Feature} Feature
 * @typedef {import("./feature.js").Value} Value
 * @typedef {{read: () => Value, write: (value: Value | undefined) => void, controls: HTMLElement, input: HTMLElement}} Control
 * @typedef {{feature: Feature, element: HTMLElement, read: () => Value, write: (value: Value | undefined) => void,
 *   focus: () => void, say: (text: string, severity: "error" | "warning" | "") => void}} Field
 */

const MENU_LEVELS = 12; // a longer list is a combobox

/**
 * @param {Feature} feature @param {number} position @param {import("./feature.js").Cell[] | undefined} histogram
 * @param {(feature: Feature) => void} changed @param {(feature: Feature) => void} focused
 * @returns {Field}
 */
export function field(feature, position, histogram, changed, focused) {
  const id = `field-${position}`;
  const problem = h("p", { id: `${id}-problem`, class: "problem" });
  const described = h("p", { id: `${id}-hint`, class: "hint quiet" }, hint(feature));
  const control = controlFor(feature, id, `${id}-hint ${id}-problem`, histogram, () => changed(feature));
  const element = h(
    "div",
    { class: "field", onfocusin: () => focused(feature) },
    h("label", { for: id }, h("bdi", {}, feature.name)),
    control.controls,
    described,
    problem,
  );
  return {
    feature,
    element,
    read: control.read,
    write: control.write,
    focus: () => control.input.focus(),
    say: (text, severity) => {
      problem.textContent = text;
      problem.className = `problem ${severity && `${severity}-text`}`;
      control.input.setAttribute("aria-invalid", String(severity === "error"));
      element.classList.toggle("has-error", severity === "error");
      element.classList.toggle("has-warning", severity === "warning");
    },
  };
}

/** @param {Feature} feature @param {string} id @param {string} describedby @param {any} histogram @param {() => void} changed @returns {Control} */
function controlFor(feature, id, describedby, histogram, changed) {
  const levels = feature.seen?.levels ?? [];
  if (feature.kind === "number") return numberControl(feature, id, describedby, histogram, changed);
  if (feature.kind === "date") return dateControl(feature, id, describedby, changed);
  if (feature.kind === "boolean") return menu(feature, id, describedby, [true, false], changed);
  if (feature.kind === "text") return textControl(feature, id, describedby, changed);
  if (levels.length && levels.length <= MENU_LEVELS) return menu(feature, id, describedby, levels, changed);
  return levelControl(feature, id, describedby, levels, changed);
}

/** A text field and a slider. Text that is not a number is sent unchanged: the server reads it or reports the error. @returns {Control} */
function numberControl(/** @type {Feature} */ feature, /** @type {string} */ id, /** @type {string} */ describedby, /** @type {any} */ histogram, /** @type {() => void} */ changed) {
  const input = h("input", { id, inputmode: "decimal", autocomplete: "off", "aria-describedby": describedby, placeholder: feature.nullable ? "missing" : "" });
  const bounds = range(feature, histogram);
  const slider = bounds && h("input", { type: "range", min: bounds[0], max: bounds[1], step: step(feature, bounds), "aria-label": `${feature.name}, slider`, tabindex: 0 });
  const toSlider = () => { if (slider && input.value.trim() && Number.isFinite(Number(input.value))) slider.value = input.value; };
  input.addEventListener("input", () => { toSlider(); changed(); });
  slider?.addEventListener("input", () => { input.value = slider.value; changed(); });
  return {
    input,
    controls: h("div", { class: "with-slider" }, input, slider),
    read: () => numberOrText(input.value),
    write: (value) => { input.value = value ?? ""; toSlider(); },
  };
}

/** @param {Feature} feature @param {[number, number]} bounds */
function step(feature, [low, high]) {
  if (isWhole(feature)) return 1;
  return 10 ** Math.floor(Math.log10((high - low) / 200));
}

/** @param {string} text @returns {Value} */
function numberOrText(text) {
  const trimmed = text.trim();
  if (!trimmed) return null;
  const number = Number(trimmed);
  return Number.isFinite(number) ? number : trimmed;
}

/** @returns {Control} */
function dateControl(/** @type {Feature} */ feature, /** @type {string} */ id, /** @type {string} */ describedby, /** @type {() => void} */ changed) {
  const type = dateInput(feature);
  const input = h("input", { id, type, step: type === "datetime-local" ? 1 : null, oninput: changed, "aria-describedby": describedby, placeholder: feature.date_format ?? "" });
  return {
    input,
    controls: h("div", {}, input),
    read: () => input.value || null,
    write: (value) => {
      const time = seconds(value);
      input.value = type === "text" || time === null ? (value ?? "") : dateText(time, type);
    },
  };
}

/** A text of several lines. @returns {Control} */
function textControl(/** @type {Feature} */ feature, /** @type {string} */ id, /** @type {string} */ describedby, /** @type {() => void} */ changed) {
  const input = h("textarea", { id, rows: 3, oninput: changed, dir: "auto", "aria-describedby": describedby, placeholder: feature.nullable ? "missing" : "" });
  return {
    input,
    controls: h("div", {}, input),
    read: () => input.value || null,
    write: (value) => { input.value = value ?? ""; },
  };
}

/** A menu of a few values. Options contain positions, because a level may be a number or the empty text. @returns {Control} */
function menu(/** @type {Feature} */ feature, /** @type {string} */ id, /** @type {string} */ describedby, /** @type {Value[]} */ levels, /** @type {() => void} */ changed) {
  const values = [...levels];
  const input = h("select", { id, onchange: changed, dir: "auto", "aria-describedby": describedby });
  const show = () => {
    const options = values.map((value, position) => h("option", { value: position, dir: "auto" }, value === "" ? "(empty)" : String(value)));
    if (feature.nullable || !values.length) options.push(h("option", { value: "" }, "(missing)"));
    input.replaceChildren(...options);
  };
  show();
  return {
    input,
    controls: h("div", {}, input),
    read: () => (input.value === "" ? null : values[Number(input.value)]),
    write: (value) => {
      if (value !== null && value !== undefined && !values.includes(value)) {
        values.push(value);
        show();
      }
      if (value == null && !feature.nullable) input.selectedIndex = -1;
      else input.value = value == null ? "" : String(values.indexOf(value));
    },
  };
}

/** @returns {Control} */
function levelControl(/** @type {Feature} */ feature, /** @type {string} */ id, /** @type {string} */ describedby, /** @type {Value[]} */ levels, /** @type {() => void} */ changed) {
  const texts = new Map(levels.map((level) => [String(level), level]));
  const { element, input } = combobox({ id, values: [...texts.keys()], onchange: changed, describedby, placeholder: feature.nullable ? "missing" : "" });
  const typed = (/** @type {string} */ text) => (feature.seen?.type === "number" || typeof levels[0] === "number" ? numberOrText(text) : text);
  return {
    input,
    controls: element,
    read: () => (input.value === "" && !texts.has("") ? null : (texts.get(input.value) ?? typed(input.value))),
    write: (value) => { input.value = value == null ? "" : String(value); },
  };
}
