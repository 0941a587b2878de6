/** A form for the API key, shown when the server refuses a request without a key. */
import { signIn, signedIn } from "../api.js";
import { h } from "./dom.js";

/** @param {import("../api.js").ApiError} error */
export function signInForm(error) {
  const field = h("input", { id: "key", type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const refused = signedIn() || error.status === 403;
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    signIn(field.value);
  };
  return h(
    "form",
    { class: "notice sign-in", onsubmit: submit },
    h("p", { class: "notice-title" }, error.status === 403 ? "This is not allowed." : "This server needs a key."),
    refused && h("p", { class: "error-text", role: "alert" }, error.message),
    error.status === 401 || signedIn()
      ? [
          h("label", { for: "key" }, error.status === 403 ? "Another API key" : "API key"),
          h("div", { class: "row" }, field, h("button", { class: "main", type: "submit" }, "Sign in")),
          h("p", { class: "quiet" }, "The key stays in the memory of this page. It is not stored, and it is lost when you close or reload it."),
        ]
      : null,
  );
}
