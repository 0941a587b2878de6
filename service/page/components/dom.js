/** Creates elements. Text always becomes a text node, so no text from a table is interpreted as HTML. */

/** @typedef {Node | string | number | null | undefined | false | Child[]} Child */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes] functions are listeners (`onclick`), `style` is an object, attributes with the value false are left out
 * @param {...Child} children
 * @returns {any} the HTML element
 */
export function h(tag, attributes = {}, ...children) {
  return fillElement(document.createElement(tag), attributes, children);
}

/** Like `h`, for SVG elements. @param {string} tag @param {Record<string, any>} [attributes] @param {...Child} children @returns {any} */
export function svg(tag, attributes = {}, ...children) {
  return fillElement(document.createElementNS(SVG, tag), attributes, children);
}

/** @param {any} element @param {Record<string, any>} attributes @param {Child[]} children */
function fillElement(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter(isShown));
  return element;
}

/** @param {unknown} child */
const isShown = (child) => child !== null && child !== undefined && child !== false;
