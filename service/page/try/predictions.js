/** Requests predictions. A new request aborts the previous one, so that answers arrive in order. */
import { ApiError, sendJson } from "../api.js";

/** @typedef {import("./feature.js").Row} Row */

/** Requests predictions of a model, with intervals or label sets if the version has them. */
export class Predictor {
  /** @param {string} model @param {string} task @param {boolean} uncertain whether the version has intervals or label sets */
  constructor(model, task, uncertain) {
    this.path = `predict/${encodeURIComponent(model)}`;
    this.option = uncertain ? (task === "regression" ? "interval" : "set") : "";
    this.level = "0.9";
    /** @type {Map<string, AbortController>} */
    this.running = new Map();
  }

  /** The query of a request with an interval or a label set. */
  get uncertainty() {
    return this.option ? { [this.option]: this.level } : {};
  }

  /**
   * @param {string} purpose a new request aborts the previous request with the same purpose
   * @param {Row[]} rows
   * @param {Record<string, string>} query
   * @param {AbortSignal} signal of the view
   * @returns {Promise<{version: string, predictions: any[], errors?: import("../api.js").RowError[]}>}
   */
  async predict(purpose, rows, query, signal) {
    this.running.get(purpose)?.abort();
    const own = new AbortController();
    this.running.set(purpose, own);
    const abort = () => own.abort();
    signal.addEventListener("abort", abort);
    try {
      const text = new URLSearchParams(query).toString();
      return await sendJson("POST", text ? `${this.path}?${text}` : this.path, { rows }, { signal: own.signal });
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** Like `predict`, with an interval or a label set if this version has them. @param {string} purpose @param {Row[]} rows @param {Record<string, string>} query @param {AbortSignal} signal */
  async predictUncertain(purpose, rows, query, signal) {
    try {
      return await this.predict(purpose, rows, { ...query, ...this.uncertainty }, signal);
    } catch (error) {
      if (!this.option || !isRefusedOption(error)) throw error;
      this.option = "";
      return this.predict(purpose, rows, query, signal);
    }
  }
}

/** @param {unknown} error */
export function isRefusedOption(error) {
  return error instanceof ApiError && error.status === 422 && (error.problem.errors ?? []).some((one) => one.code === "unknown_option");
}

/** Delays a function until it has not been called for some time. @param {number} milliseconds @param {() => void} work */
export function debounced(milliseconds, work) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds);
  };
}
