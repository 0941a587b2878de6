/** Versions: the stored versions of a model, and which of them are served. */
import { getJson } from "../api.js";
import { h } from "../components/dom.js";
import { modelPicker } from "../components/model_picker.js";
import { percent } from "../components/numbers.js";

/** @param {HTMLElement} main @param {import("../router.js").Route} route @param {AbortSignal} signal */
export async function show(main, route, signal) {
  const { name, picker } = await modelPicker("versions", route, signal);
  main.append(h("h1", {}, "Versions"), picker);
  if (!name) return;
  /** @type {{versions: {version: string, state: string, aliases: string[], traffic: number, trained_at: string | null}[]}} */
  const { versions } = await getJson(`models/${name}/versions`, signal);
  const rows = versions.map((one) =>
    h("tr", {}, [one.version, one.state, one.aliases.join(", "), percent(one.traffic / 100), one.trained_at ?? ""].map((text) => h("td", {}, text))),
  );
  const heads = ["Version", "State", "Aliases", "Traffic", "Trained"].map((text) => h("th", { scope: "col" }, text));
  main.append(h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows))));
}
