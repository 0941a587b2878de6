/** The Models view: the served models, their quality and their columns. */
import { getJson } from "../api.js";
import { h } from "../components/dom.js";
import { number } from "../components/numbers.js";
import { address } from "../router.js";

/** @typedef {{name: string, version: string, task: string, target: string, metric: {name: string, value: number} | null, engine: string}} Model */

/** @type {Record<string, string>} */
const TASKS = { regression: "a number", binary: "one of two classes", multiclass: "one of several classes" };

/** @param {HTMLElement} main @param {import("../router.js").Route} route @param {AbortSignal} signal */
export async function show(main, route, signal) {
  /** @type {{models: Model[]}} */
  const { models } = await getJson("models", signal);
  main.append(h("h1", {}, "Models"));
  if (models.length) main.append(h("ul", { class: "cards" }, models.map((model) => modelCard(model, signal))));
  else {
    const { message } = await import("../components/notice.js");
    main.append(message("There are no models here.", h("p", {}, "The server has none, or your key may not use any. To train one: ", h("code", {}, "tabserve train housing"))));
  }
}

/** @param {Model} model @param {AbortSignal} signal */
function modelCard(model, signal) {
  const details = h("details", { ontoggle: fill }, h("summary", {}, "Columns"));
  async function fill() {
    if (!details.open || details.childElementCount > 1) return;
    try {
      const { describeModel } = await import("../components/model_description.js");
      details.append(describeModel(await getJson(`models/${encodeURIComponent(model.name)}`, signal)));
    } catch (error) {
      const { notice } = await import("../components/notice.js");
      if (!signal.aborted) details.append(notice(error));
    }
  }
  return h(
    "li",
    { class: "card" },
    h("h2", {}, h("a", { href: address("try", model.name) }, model.name), " ", h("span", { class: "tag" }, `version ${model.version}`)),
    h("p", {}, "predicts ", h("strong", { dir: "auto" }, model.target), ` (${TASKS[model.task] ?? model.task})`),
    model.metric && h("p", { class: "quiet" }, `${model.metric.name} on held-out rows: `, h("strong", {}, number(model.metric.value))),
    h("p", { class: "row" }, h("a", { class: "button main", href: address("try", model.name) }, "Try"), h("a", { class: "button", href: address("versions", model.name) }, "Versions")),
    details,
  );
}
