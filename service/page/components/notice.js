/** Messages in place of content: an error with its remedy, or the reason why a view is empty. */
import { ApiError, ServerUnreachable } from "../api.js";
import { h } from "./dom.js";
import { signInForm } from "./sign_in.js";

/** @param {string} title @param {...import("./dom.js").Child} more */
export function message(title, ...more) {
  return h("div", { class: "notice" }, h("p", { class: "notice-title" }, title), ...more);
}

/** @param {any} error @param {() => void} [retry] @returns {HTMLElement} */
export function notice(error, retry) {
  if (error instanceof ApiError && (error.status === 401 || error.status === 403)) return signInForm(error);
  const again = retry && h("button", { onclick: retry }, "Try again");
  const box = h("div", { class: "notice error", role: "alert" });
  if (error instanceof ServerUnreachable) {
    box.append(h("p", { class: "notice-title" }, "The server does not answer."), h("p", {}, "It may have been stopped, or the network is down. Nothing that you have entered is lost."));
  } else if (error instanceof ApiError) {
    box.append(h("p", { class: "notice-title" }, error.problem.title ?? `Status ${error.status}`), h("p", {}, error.message));
  } else {
    box.append(h("p", { class: "notice-title" }, "This page has failed."), h("p", {}, String(error?.message ?? error)));
  }
  if (again) box.append(again);
  return box;
}
