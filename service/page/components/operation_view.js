/** One operation of an OpenAPI document: parameters, body and responses. Its parts are created when the reader opens it. */
import { h } from "./dom.js";
import { scrollable } from "./scrollable.js";
import { resolveReference, schemaView } from "./schema_view.js";

/** @param {any} document @param {{method: string, path: string, operation: any}} one */
export function operationView(document, { method, path, operation }) {
  const summary = h("summary", {}, h("code", { class: `method ${method}` }, method.toUpperCase()), " ", h("code", {}, path), " ", h("span", { class: "quiet" }, operation.summary ?? ""));
  const details = h("details", { class: "operation", ontoggle: fill }, summary);
  function fill() {
    if (details.open && details.childElementCount === 1) details.append(...parts(document, operation));
  }
  return details;
}

/** @param {any} document @param {any} operation */
function parts(document, operation) {
  const parameters = (operation.parameters ?? []).map((/** @type {any} */ one) => resolveReference(document, one));
  const body = operation.requestBody && resolveReference(document, operation.requestBody);
  return [
    operation.description && h("p", {}, operation.description),
    parameters.length && [h("h3", {}, "Parameters"), table(["Name", "In", "Values", "Meaning"], parameters.map(parameterRow))],
    body && [h("h3", {}, "Body"), contents(document, body.content)],
    h("h3", {}, "Responses"),
    table(["Status", "Meaning", "Content"], Object.entries(operation.responses).map(([status, one]) => responseRow(document, status, resolveReference(document, one)))),
  ].flat(Infinity).filter(Boolean);
}

/** @param {any} parameter */
function parameterRow({ name, in: place, required, schema = {}, description }) {
  const values = schema.enum?.join(", ") ?? schema.type ?? "";
  const initial = schema.default === undefined || schema.default === "" ? "" : ` (default: ${schema.default})`;
  return [[h("code", {}, name), required && place !== "path" ? " *" : ""], place, `${values}${initial}`, description ?? ""];
}

/** @param {any} document @param {string} status @param {any} response */
function responseRow(document, status, response) {
  return [status, response.description ?? "", contents(document, response.content ?? {})];
}

/** @param {any} document @param {Record<string, any>} content by media type */
function contents(document, content) {
  return Object.entries(content).map(([type, { schema, example, examples }]) => {
    const shown = example ?? /** @type {any} */ (Object.values(examples ?? {})[0])?.value ?? schema?.example ?? schema?.examples?.[0];
    return h("details", {}, h("summary", {}, h("code", {}, type)), schema && schemaView(document, schema), shown !== undefined && h("pre", { tabindex: 0, "aria-label": "Example" }, typeof shown === "string" ? shown : JSON.stringify(shown, null, 1)));
  });
}

/** @param {string[]} heads @param {any[][]} rows */
function table(heads, rows) {
  return scrollable(heads.join(", "), h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))), h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell)))))));
}
