/** The request of a row for copying: for curl, for Python, and as JSON. */
import { h } from "../components/dom.js";
import { signedIn } from "../api.js";

/** @param {string} path @param {Record<string, string>} query @param {import("./feature.js").Row} row */
export function snippets(path, query, row) {
  const text = new URLSearchParams(query).toString();
  const url = new URL(text ? `${path}?${text}` : path, document.baseURI).href;
  const body = JSON.stringify({ rows: [row] });
  return { curl: curl(url, body), Python: python(url, row), JSON: JSON.stringify({ rows: [row] }, null, 1) };
}

/** @param {string} url @param {string} body */
function curl(url, body) {
  const key = signedIn() ? ` \\\n  -H "Authorization: Bearer $KEY"` : "";
  return `curl -s '${url}' \\\n  -H 'Content-Type: application/json'${key} \\\n  -d '${body.replaceAll("'", `'\\''`)}'`;
}

/** @param {string} url @param {import("./feature.js").Row} row */
function python(url, row) {
  const key = signedIn() ? `, headers={"Authorization": f"Bearer {key}"}` : "";
  const lines = Object.entries(row).map(([name, value]) => `    ${JSON.stringify(name)}: ${literal(value)},`);
  return `import requests\n\nrow = {\n${lines.join("\n")}\n}\nresponse = requests.post("${url}", json={"rows": [row]}${key}, timeout=15)\nresponse.raise_for_status()\nprint(response.json()["predictions"][0])`;
}

/** @param {import("./feature.js").Value} value */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  return JSON.stringify(value);
}

/** @param {Record<string, string>} texts by their names @param {string} link */
export function copyPanel(texts, link) {
  const names = Object.keys(texts);
  const shown = h("pre", { tabindex: 0, "aria-label": "Request" }, texts[names[0]]);
  const status = h("span", { class: "quiet", role: "status" });
  /** @param {string} text @param {string} name */
  const copy = async (text, name) => {
    shown.textContent = text;
    try {
      await navigator.clipboard.writeText(text);
      status.textContent = `${name} copied`;
    } catch {
      getSelection()?.selectAllChildren(shown); // without TLS, browsers do not give access to the clipboard
      status.textContent = `${name} is selected below`;
      details.open = true;
    }
  };
  const details = h("details", {}, h("summary", {}, "Show the request"), shown);
  const buttons = [...names.map((name) => h("button", { onclick: () => copy(texts[name], name) }, name)), h("button", { onclick: () => copy(link, "Link") }, "Link to this row")];
  return h("section", { class: "panel" }, h("h3", {}, "Copy"), h("div", { class: "row" }, buttons, status), details);
}
