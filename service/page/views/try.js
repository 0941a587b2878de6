/** Try: predict a row. */
import { getJson, sendJson } from "../api.js";
import { h } from "../components/dom.js";
import { modelPicker } from "../components/model_picker.js";
import { notice } from "../components/notice.js";

/** @param {HTMLElement} main @param {import("../router.js").Route} route @param {AbortSignal} signal */
export async function show(main, route, signal) {
  const { name, picker } = await modelPicker("try", route, signal);
  main.append(h("h1", {}, "Try"), picker);
  if (!name) return;
  const model = await getJson(`models/${name}`, signal);
  const field = h("textarea", { id: "row", rows: 12, spellcheck: "false" });
  field.value = JSON.stringify(model.examples[0]?.row ?? {}, null, 1);
  const answer = h("div", { "aria-live": "polite" });
  const predict = async () => {
    try {
      const { predictions } = await sendJson("POST", `predict/${name}`, { rows: [JSON.parse(field.value)] }, { signal });
      answer.replaceChildren(h("pre", {}, JSON.stringify(predictions[0], null, 1)));
    } catch (error) {
      answer.replaceChildren(notice(error));
    }
  };
  main.append(h("label", { for: "row" }, "Row (JSON)"), field, h("button", { class: "main", onclick: predict }, "Predict"), answer);
}
