/** The Live view: the activity of the server, and the drift of its rows. */
import { ApiError, isTemporary, onSessionChange, request } from "../api.js";
import { h } from "../components/dom.js";
import { modelPicker } from "../components/model_picker.js";
import { message, notice } from "../components/notice.js";
import { redraw } from "../components/redraw.js";
import { readCounts } from "../live/counts.js";
import { driftOf, driftPanel } from "../live/drift_panel.js";
import { History } from "../live/history.js";
import { repeat } from "../live/polling.js";
import { serverPanel } from "../live/server_panel.js";

const REFRESH_S = 2; // workers publish their counts once a second

/** The history, which is kept while another view is open. */
let kept = new History();
onSessionChange(() => {
  kept = new History();
});

/** @param {HTMLElement} main @param {import("../router.js").Route} route @param {AbortSignal} signal */
export async function show(main, route, signal) {
  const { name, picker } = await modelPicker("live", route, signal);
  main.append(h("h1", {}, "Live"), await countersOrReason(name, signal), name ? driftPanel(name, picker, signal) : picker);
}

/** The counters of the server. With a key for only some models, the reader may only see the drift of these models. @param {string} model @param {AbortSignal} signal */
async function countersOrReason(model, signal) {
  try {
    await load(kept, signal);
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 403 && model)) throw error;
    await driftOf(model, "", signal).catch(() => {
      throw error;
    });
    return message("The counters of the server are not shown.", h("p", {}, error.message));
  }
  return countersPanel(kept, signal);
}

/** @param {History} history @param {AbortSignal} signal */
function countersPanel(history, signal) {
  const problem = h("div", {});
  const server = h("div", { class: "server" }, serverPanel(history));
  const refresh = async () => {
    try {
      await load(history, signal);
      problem.replaceChildren();
      redraw(server, serverPanel(history));
      return true;
    } catch (error) {
      if (!signal.aborted && !problem.hasChildNodes()) problem.replaceChildren(notice(error));
      return isTemporary(error);
    }
  };
  repeat(refresh, REFRESH_S, signal);
  return h("div", {}, problem, server);
}

/** @param {History} history @param {AbortSignal} signal */
async function load(history, signal) {
  const text = await (await request("metrics", { signal })).text();
  history.add(performance.now() / 1000, readCounts(text));
}
