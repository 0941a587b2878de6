/** A text field that suggests values while the reader types, for lists that are too long for a menu. Other values can be typed, too. */
import { h } from "./dom.js";

const SHOWN = 50;

/**
 * @param {{id: string, values: string[], onchange: () => void, describedby: string, placeholder?: string}} options
 * @returns {{element: HTMLElement, input: HTMLInputElement}}
 */
export function combobox({ id, values, onchange, describedby, placeholder }) {
  const folded = values.map((value) => value.toLowerCase());
  const list = h("ul", { id: `${id}-list`, role: "listbox", "aria-label": "Values" });
  const more = h("p", { class: "quiet" });
  const offered = h("div", { class: "options", hidden: true }, list, more);
  const input = h("input", {
    id, role: "combobox", autocomplete: "off", spellcheck: "false", dir: "auto", placeholder,
    "aria-expanded": "false", "aria-controls": list.id, "aria-autocomplete": "list", "aria-describedby": describedby,
  });
  let active = -1;

  /** @param {boolean} shown */
  const toggle = (shown) => {
    offered.hidden = !shown;
    input.setAttribute("aria-expanded", String(shown));
    if (!shown) activate(-1);
  };
  /** @param {number} position */
  const activate = (position) => {
    const options = list.querySelectorAll('[role="option"]');
    options[active]?.setAttribute("aria-selected", "false");
    active = position;
    options[active]?.setAttribute("aria-selected", "true");
    options[active]?.scrollIntoView({ block: "nearest" });
    if (options[active]) input.setAttribute("aria-activedescendant", options[active].id);
    else input.removeAttribute("aria-activedescendant");
  };
  /** @param {string} value */
  const choose = (value) => {
    input.value = value;
    toggle(false);
    onchange();
  };
  /** @param {string} text */
  const offer = (text) => {
    const found = matches(folded, text.toLowerCase());
    const options = found.slice(0, SHOWN).map((position, row) =>
      h("li", { id: `${id}-${row}`, role: "option", "aria-selected": "false", dir: "auto", onpointerdown: (/** @type {Event} */ event) => { event.preventDefault(); choose(values[position]); } }, values[position] || "(empty)"),
    );
    const left = found.length - options.length;
    more.textContent = left > 0 ? `and ${left.toLocaleString("en")} more: type to narrow` : "";
    list.replaceChildren(...options);
    activate(-1);
    toggle(options.length > 0);
  };
  /** @param {KeyboardEvent} event */
  const key = (event) => {
    const count = list.querySelectorAll('[role="option"]').length;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (offered.hidden) offer("");
      else if (count) activate((active + (event.key === "ArrowDown" ? 1 : count - (active < 0 ? 0 : 1))) % count);
    } else if (event.key === "Enter" && active >= 0) {
      event.preventDefault();
      choose(values[matches(folded, typed.toLowerCase())[active]]);
    } else if (event.key === "Escape" && !offered.hidden) {
      event.preventDefault();
      toggle(false);
    }
  };
  let typed = "";
  input.addEventListener("input", () => { typed = input.value; offer(typed); onchange(); });
  input.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => { if (offered.hidden) typed = ""; key(event); });
  input.addEventListener("click", () => { typed = ""; if (offered.hidden) offer(""); });
  input.addEventListener("blur", () => toggle(false));
  return { element: h("div", { class: "combobox" }, input, offered), input };
}

/** The positions of the values that contain a text. Values that begin with the text come first. @param {string[]} folded @param {string} text */
export function matches(folded, text) {
  if (!text) return folded.map((_, position) => position);
  const begins = [], contains = [];
  for (let position = 0; position < folded.length; position++) {
    const at = folded[position].indexOf(text);
    if (at === 0) begins.push(position);
    else if (at > 0) contains.push(position);
  }
  return begins.concat(contains);
}
