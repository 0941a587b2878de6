/** A JSON schema as nested lists of properties. */
import { h } from "./dom.js";

const DEEPEST = 6; // schemas may refer to themselves
const SHOWN = 60; // properties of one object

/** A part of the document, or the part that it refers to. @param {any} document @param {any} part @returns {any} */
export function resolveReference(document, part) {
  if (!part?.$ref) return part ?? {};
  return part.$ref.replace(/^#\//, "").split("/").reduce((/** @type {any} */ at, /** @type {string} */ name) => at?.[name.replaceAll("~1", "/").replaceAll("~0", "~")], document) ?? {};
}

/** @param {any} document @param {any} part @returns {HTMLElement} */
export function schemaView(document, part, depth = 0) {
  const schema = resolveReference(document, part);
  const choices = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (depth > DEEPEST) return h("span", {}, "…");
  if (schema.properties) return objectView(document, schema, depth);
  if (schema.items) return h("span", {}, "array of ", schemaView(document, schema.items, depth + 1));
  if (choices) return h("span", {}, choices.map((/** @type {any} */ choice, /** @type {number} */ position) => [position ? " or " : "", schemaView(document, choice, depth + 1)]));
  return h("span", {}, [type(schema), limits(schema)].filter(Boolean).join(", "), schema.description && h("span", { class: "quiet" }, ` – ${schema.description}`));
}

/** @param {any} document @param {any} schema @param {number} depth */
function objectView(document, schema, depth) {
  const names = Object.keys(schema.properties);
  const required = new Set(schema.required ?? []);
  const rows = names.slice(0, SHOWN).map((name) => h("li", {}, h("code", { dir: "auto" }, name), required.has(name) ? " * " : " ", schemaView(document, schema.properties[name], depth + 1)));
  if (names.length > SHOWN) rows.push(h("li", { class: "quiet" }, `and ${names.length - SHOWN} more`));
  return h("ul", { class: "schema" }, rows);
}

/** @param {any} schema */
function type({ type, const: constant, enum: values }) {
  if (constant !== undefined) return JSON.stringify(constant);
  if (values) return values.length > 8 ? `one of ${values.length} values` : values.map((/** @type {any} */ value) => JSON.stringify(value)).join(" | ");
  return Array.isArray(type) ? type.join(" or ") : (type ?? "any");
}

/** @param {any} schema */
function limits({ minimum, maximum, format, pattern }) {
  const range = [minimum !== undefined && `from ${minimum}`, maximum !== undefined && `up to ${maximum}`].filter(Boolean).join(" ");
  return [range, format, pattern && `/${pattern}/`].filter(Boolean).join(", ");
}
