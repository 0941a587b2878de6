/** The Versions view: compares the stored versions of a model, and changes the served versions. */
import { ApiError, getJson, request, sendJson } from "../api.js";
import { confirmChange } from "../components/confirm.js";
import { h } from "../components/dom.js";
import { markdown } from "../components/markdown.js";
import { modelPicker } from "../components/model_picker.js";
import { notice } from "../components/notice.js";
import { auditPanel } from "../versions/audit.js";
import { changeForms, promotion } from "../versions/change_forms.js";
import { versionTable } from "../versions/version_table.js";

/** @typedef {import("../versions/version_table.js").Version} Version */
/** @typedef {import("../versions/version_table.js").VersionList} VersionList */
/** @typedef {import("../versions/audit.js").AuditEntry} AuditEntry */
/** @typedef {import("../versions/change_forms.js").Change} Change */

const SHOWN = 6;

/** @param {HTMLElement} main @param {import("../router.js").Route} route @param {AbortSignal} signal */
export async function show(main, route, signal) {
  const { name, picker } = await modelPicker("versions", route, signal);
  main.append(h("h1", {}, "Versions"), picker);
  if (!name) return;
  const result = h("div", { role: "status", class: "result" });
  const content = h("div", {});
  const card = h("div", {});
  main.append(result, content);
  let all = false;
  /** @param {VersionList} [known] */
  const load = async (known) => {
    const [list, audit] = await Promise.all([known ?? getJson(`models/${encodeURIComponent(name)}/versions`, signal), auditOrRefusal(signal)]);
    draw(list, audit);
  };
  /** @param {VersionList} list @param {AuditEntry[] | ApiError} audit */
  const draw = (list, audit) => {
    const showAll = () => {
      all = true;
      draw(list, audit);
    };
    content.replaceChildren(...viewOf(list, audit, { make: (change) => makeChange(list, change), all, showAll, card, openCard: (version) => openCard(list.model, version, card, signal) }));
  };
  /** @param {VersionList} list @param {Change} change */
  const makeChange = async (list, change) => {
    if (!(await confirmChange(change.question, change.effect, change.verb, signal))) return;
    result.replaceChildren(h("p", { class: "quiet" }, "All workers are preparing this change …"));
    try {
      const headers = { "If-Match": `"${list.generation}"` };
      const path = `models/${encodeURIComponent(name)}/${change.path}`;
      await load(await sendJson(change.method, path, change.body, { signal, headers }));
      result.replaceChildren(h("p", { class: "done" }, `Done: ${change.verb.toLowerCase()}. All workers have switched.`));
    } catch (error) {
      if (signal.aborted) return;
      result.replaceChildren(notice(error));
      if (error instanceof ApiError && error.status === 412) await load();
    }
  };
  await load();
}

/** The audit, or the reason why the reader may not change anything. @param {AbortSignal} signal @returns {Promise<AuditEntry[] | ApiError>} */
async function auditOrRefusal(signal) {
  try {
    return (await getJson("audit", signal)).audit;
  } catch (error) {
    if (error instanceof ApiError) return error;
    throw error;
  }
}

/**
 * @param {VersionList} list
 * @param {AuditEntry[] | ApiError} audit
 * @param {{make: (change: Change) => void, all: boolean, showAll: () => void, card: HTMLElement, openCard: (version: Version) => void}} actions card: the element in which a card is shown
 * @returns {HTMLElement[]}
 */
function viewOf(list, audit, { make, all, showAll, card, openCard }) {
  const refused = audit instanceof ApiError;
  const visible = all ? list.versions : firstVersions(list.versions);
  const promote = (/** @type {Version} */ version) => make(promotion(version.version, list));
  const parts = [versionTable(visible, refused ? null : { promote }, openCard), h("p", { class: "quiet" }, "Each version was measured on the held-out rows of its own training.")];
  if (visible.length < list.versions.length) parts.push(h("button", { onclick: showAll }, `Show all ${list.versions.length} versions`));
  parts.push(card);
  if (!refused) return [...parts, h("div", { class: "forms" }, changeForms(list, make)), auditPanel(audit, list.model)];
  return [...parts, h("section", { class: "changes-refused" }, h("h2", {}, "Changes"), notice(audit))];
}

/** The newest versions, and all served versions. @param {Version[]} versions */
const firstVersions = (versions) => versions.filter((version, index) => index < SHOWN || version.aliases.length > 0);

/** @param {string} model @param {Version} version @param {HTMLElement} place @param {AbortSignal} signal */
async function openCard(model, { version }, place, signal) {
  try {
    const text = await (await request(`models/${encodeURIComponent(model)}/versions/${version}/card`, { signal })).text();
    place.replaceChildren(h("section", { class: "panel model-card", tabindex: -1, "aria-label": `Card of version ${version}` }, h("p", {}, h("span", { class: "tag" }, `Card of version ${version}`)), markdown(text)));
  } catch (error) {
    if (!signal.aborted) place.replaceChildren(notice(error));
  }
  const shown = place.firstElementChild;
  if (shown instanceof HTMLElement) shown.focus();
}
