/** Chooses the model of a view. */
import { getJson } from "../api.js";
import { address } from "../router.js";
import { h } from "./dom.js";
import { message } from "./notice.js";

/**
 * @param {string} view
 * @param {import("../router.js").Route} route
 * @param {AbortSignal} signal
 * @returns {Promise<{name: string, picker: HTMLElement}>} the model in the address, or else the first model; empty if there is no model
 */
export async function modelPicker(view, route, signal) {
  /** @type {{models: {name: string}[]}} */
  const { models } = await getJson("models", signal);
  const names = models.map((model) => model.name);
  const name = route.model || names[0] || "";
  if (!name) return { name, picker: message("There are no models here.", h("p", {}, "The server has none, or your key may not use any.")) };
  if (!names.includes(name)) names.unshift(name);
  /** @param {Event} event */
  const change = (event) => {
    location.hash = address(view, /** @type {HTMLSelectElement} */ (event.target).value);
  };
  const options = names.map((one) => h("option", { value: one, selected: one === name }, one));
  return { name, picker: h("label", { class: "model-picker" }, "Model ", h("select", { onchange: change }, options)) };
}
