/** A dialog in which the reader confirms a change. */
import { h } from "./dom.js";

/**
 * @param {string} title a question
 * @param {string} text the effect of the change
 * @param {string} verb the text of the button that confirms
 * @param {AbortSignal} signal the signal of the view; opening another view cancels the change
 * @returns {Promise<boolean>}
 */
export function confirmChange(title, text, verb, signal) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { class: "confirm", "aria-labelledby": "confirm-title", "aria-describedby": "confirm-text" },
      h("h2", { id: "confirm-title" }, title),
      h("p", { id: "confirm-text" }, text),
      h(
        "div",
        { class: "row" },
        h("button", { class: "main", onclick: () => dialog.close("yes") }, verb),
        h("button", { autofocus: true, onclick: () => dialog.close() }, "Cancel"),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    signal.addEventListener("abort", () => dialog.close());
    document.body.append(dialog);
    dialog.showModal();
  });
}
