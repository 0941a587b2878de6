/** Forms that change the served versions: the champion, its traffic, a shadow, and aliases. */
import { h } from "../components/dom.js";

/**
 * @typedef {import("./version_table.js").VersionList} VersionList
 * @typedef {{method: string, path: string, body: unknown, question: string, effect: string, verb: string}} Change path: below the model
 * @typedef {(change: Change) => void} MakeChange sends the change after a confirmation
 */

const CHAMPION = "champion";
const AFTER_ROWS = 500;

/** @param {string} version @param {VersionList} list @returns {Change} */
export function promotion(version, { model, versions }) {
  const champion = versions.find((one) => one.aliases.includes(CHAMPION));
  const now = champion ? ` in place of version ${champion.version}` : "";
  return {
    method: "POST",
    path: "promote",
    body: { version: Number(version) },
    question: `Promote version ${version} of ${model}?`,
    effect: `It answers all requests that name no version${now}. All workers load and check it first. A canary ends.`,
    verb: `Promote version ${version}`,
  };
}

/** @param {VersionList} list @param {MakeChange} make */
export function changeForms(list, make) {
  const aliases = [...new Set(list.versions.flatMap((one) => one.aliases))].filter((alias) => alias !== CHAMPION);
  return [rollbackForm(list, make), aliasForm(list, aliases, make), trafficForm(list, aliases, make), shadowForm(list, aliases, make)];
}

/** @param {VersionList} list @param {MakeChange} make */
function rollbackForm({ model, previous }, make) {
  const change = {
    method: "POST",
    path: "rollback",
    body: {},
    question: `Roll back ${model} to version ${previous}?`,
    effect: `Version ${previous}, the champion before, answers all requests that name no version.`,
    verb: `Roll back to version ${previous}`,
  };
  return h(
    "section",
    { class: "panel" },
    h("h2", {}, "Roll back"),
    previous ? h("button", { onclick: () => make(change) }, `Roll back to version ${previous}`) : h("p", { class: "quiet" }, "There is no champion before this one."),
  );
}

/** @param {VersionList} list @param {string[]} aliases @param {MakeChange} make */
function aliasForm({ model, versions }, aliases, make) {
  const name = h("input", { id: "alias-name", required: true, pattern: "[a-z][a-z0-9\\-]{0,30}", title: "lower-case letters, digits and -", value: aliases.includes("challenger") ? "" : "challenger" });
  const version = h("select", { id: "alias-version" }, versions.map((one) => h("option", { value: one.version }, one.version)));
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    make({
      method: "PUT",
      path: `aliases/${name.value}`,
      body: { version: Number(version.value) },
      question: `Set the alias ${name.value} to version ${version.value}?`,
      effect: `All workers load it. Requests reach it at /predict/${model}/aliases/${name.value}.`,
      verb: "Set alias",
    });
  };
  const remove = (/** @type {string} */ alias) =>
    make({ method: "DELETE", path: `aliases/${alias}`, body: {}, question: `Delete the alias ${alias}?`, effect: "Requests to it get 404. A version without an alias is no longer loaded.", verb: "Delete alias" });
  const items = aliases.map((alias) => {
    const named = versions.find((one) => one.aliases.includes(alias));
    return h("li", { class: "row" }, h("span", { class: "tag" }, alias), ` version ${named?.version ?? "?"} `, h("button", { "aria-label": `Delete the alias ${alias}`, onclick: () => remove(alias) }, "Delete"));
  });
  return h(
    "section",
    { class: "panel" },
    h("h2", {}, "Aliases"),
    h("p", { class: "quiet" }, "A version with an alias is loaded. Traffic and shadow need one, such as challenger."),
    items.length > 0 && h("ul", { class: "plain-list" }, items),
    h("form", { class: "fields", onsubmit: submit }, field("Alias", name), field("Version", version), h("button", { type: "submit" }, "Set alias")),
  );
}

/** @param {VersionList} list @param {string[]} aliases @param {MakeChange} make */
function trafficForm({ versions, rollback }, aliases, make) {
  if (!aliases.length) return emptyForm("Traffic", "Set an alias of a second version first, such as challenger: then it can answer a share of the requests.");
  const shared = versions.find((one) => one.traffic > 0 && !one.aliases.includes(CHAMPION));
  const alias = h("select", { id: "traffic-alias" }, aliases.map((one) => h("option", { value: one, selected: shared?.aliases.includes(one) ?? false }, one)));
  const share = h("input", { id: "traffic-share", type: "number", min: 0, max: 100, step: "any", required: true, value: shared?.traffic ?? 5 });
  const byFeedback = rollback?.feedback !== false;
  const watched = h("input", { id: "traffic-watched", type: "checkbox", checked: !shared || rollback !== undefined });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const percent = Number(share.value);
    const automatic = watched.checked ? { rollback: rollback ?? { after_rows: AFTER_ROWS } } : {};
    make({
      method: "PUT",
      path: "traffic",
      body: { [CHAMPION]: 100 - percent, [alias.value]: percent, ...automatic },
      question: `Send ${percent} % of the requests to ${alias.value}?`,
      effect: watched.checked ? `If its answers fail more often${byFeedback ? ", are slower, or have larger errors by feedback" : " or are slower"}, all requests return to the champion.` : "This stays until somebody changes it.",
      verb: "Split traffic",
    });
  };
  const stop = () => make({ method: "PUT", path: "traffic", body: null, question: "Send all requests to the champion?", effect: "The other version keeps its alias and stays loaded.", verb: "All to the champion" });
  return h(
    "section",
    { class: "panel" },
    h("h2", {}, "Traffic"),
    h(
      "form",
      { class: "fields", onsubmit: submit },
      field("To", alias),
      field("Share of requests in %", share),
      h("label", { class: "check" }, watched, " return to the champion when it is worse (canary)"),
      h("div", { class: "row" }, h("button", { type: "submit" }, "Split traffic"), shared && h("button", { type: "button", onclick: stop }, "All to the champion")),
    ),
  );
}

/** @param {VersionList} list @param {string[]} aliases @param {MakeChange} make */
function shadowForm({ shadow }, aliases, make) {
  if (!aliases.length) return emptyForm("Shadow", "Set an alias of a second version first: then it can predict copies of requests, without answering them.");
  const alias = h("select", { id: "shadow-alias" }, aliases.map((one) => h("option", { value: one, selected: one === shadow?.alias }, one)));
  const share = h("input", { id: "shadow-share", type: "number", min: 0.1, max: 100, step: "any", required: true, value: shadow ? shadow.share * 100 : 10 });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    make({
      method: "PUT",
      path: "shadow",
      body: { alias: alias.value, share: Number(share.value) / 100 },
      question: `Copy ${share.value} % of the requests to ${alias.value}?`,
      effect: "It predicts them, too. Its answers are compared and never returned.",
      verb: "Start shadow",
    });
  };
  const stop = () => make({ method: "PUT", path: "shadow", body: null, question: "Stop the shadow?", effect: "No requests are copied any more.", verb: "Stop shadow" });
  return h(
    "section",
    { class: "panel" },
    h("h2", {}, "Shadow"),
    shadow && h("p", {}, `${shadow.alias} predicts copies of ${shadow.share * 100} % of the requests.`),
    h("form", { class: "fields", onsubmit: submit }, field("To", alias), field("Copies of requests in %", share), h("div", { class: "row" }, h("button", { type: "submit" }, "Start shadow"), shadow && h("button", { type: "button", onclick: stop }, "Stop shadow"))),
  );
}

/** @param {string} title @param {string} text */
const emptyForm = (title, text) => h("section", { class: "panel" }, h("h2", {}, title), h("p", { class: "quiet" }, text));

/** @param {string} name @param {HTMLElement} input which has an id */
const field = (name, input) => h("div", { class: "field" }, h("label", { for: input.id }, name), input);
