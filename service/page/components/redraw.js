/** Replaces the content of an element, and preserves the focus and the scroll positions of its parts. */

const FOCUSABLE = "a[href], button, select, input, textarea, [tabindex]";

/** @param {HTMLElement} container @param {(Node | string)[]} children elements with `data-key` are identified by this key, other elements by their position */
export function redraw(container, children) {
  const focused = placeOf(container, document.activeElement);
  const scrolled = [...container.querySelectorAll(".scroll")].map((part) => part.scrollLeft);
  container.replaceChildren(...children);
  container.querySelectorAll(".scroll").forEach((part, index) => {
    part.scrollLeft = scrolled[index] ?? 0;
  });
  if (focused) elementAt(container, focused)?.focus({ preventScroll: true });
}

/** @param {HTMLElement} container @param {Element | null} element */
function placeOf(container, element) {
  if (!element || !container.contains(element)) return null;
  return { key: element.getAttribute("data-key"), index: [...container.querySelectorAll(FOCUSABLE)].indexOf(element) };
}

/** @param {HTMLElement} container @param {{key: string | null, index: number}} place @returns {HTMLElement | undefined} */
function elementAt(container, { key, index }) {
  const elements = /** @type {HTMLElement[]} */ ([...container.querySelectorAll(FOCUSABLE)]);
  return key === null ? elements[index] : elements.find((element) => element.getAttribute("data-key") === key);
}
