/** Shows the Markdown of a model card: headings, paragraphs, lists, tables, emphasis and code. Pictures are left out. */
import { h } from "./dom.js";
import { scrollable } from "./scrollable.js";

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|!\[[^\]]*\]\([^)]*\)|\[([^\]]+)\]\([^)]*\)/g;

/** @param {string} text @param {number} level the level of the first heading @returns {HTMLElement[]} */
export function markdown(text, level = 2) {
  return text
    .replace(/\r\n/g, "\n")
    .split(/\n{2,}/)
    .map((block) => blockElement(block.trim(), level))
    .filter((element) => element instanceof HTMLElement && element.textContent?.trim() !== "");
}

/** @param {string} block @param {number} level @returns {HTMLElement} */
function blockElement(block, level) {
  const heading = /^(#{1,6}) (.*)$/.exec(block);
  if (heading) return h(`h${Math.min(6, heading[1].length + level - 1)}`, {}, inline(heading[2]));
  const lines = block.split("\n");
  if (lines.length > 1 && lines[0].startsWith("|") && /^\|[\s|:-]+\|$/.test(lines[1])) return table(lines);
  if (block.startsWith("```")) return h("pre", {}, block.replace(/^```.*\n?|\n?```$/g, ""));
  if (lines.every((line) => /^[-*] /.test(line))) return h("ul", {}, lines.map((line) => h("li", {}, inline(line.slice(2)))));
  return h("p", {}, inline(lines.join(" ")));
}

/** @param {string[]} lines */
function table([head, , ...body]) {
  const rows = body.map((line) => h("tr", {}, cellsOf(line).map((cell) => h("td", {}, inline(cell)))));
  const heads = cellsOf(head).map((cell) => (cell ? h("th", { scope: "col" }, inline(cell)) : h("td", {})));
  return scrollable(cellsOf(head).join(" ").trim() || "Table", h("table", {}, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows)));
}

/** The cells of a line. `\|` is a bar inside a cell. @param {string} line */
const cellsOf = (line) =>
  line
    .replace(/^\||\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replace(/\\\|/g, "|"));

/** @param {string} text */
function inline(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(text.slice(end, match.index));
    if (match[1] !== undefined) parts.push(h("code", {}, match[1]));
    else if (match[2] !== undefined) parts.push(h("strong", {}, match[2]));
    else if (match[3] !== undefined) parts.push(match[3]);
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)];
}
