/** A region that can be scrolled, also with the keyboard. */
import { h } from "./dom.js";

/** @param {string} name @param {HTMLElement} content */
export function scrollable(name, content) {
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name }, content);
}
