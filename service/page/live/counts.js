/** The counters of the server at one moment: sums over its workers since the server started. */
import { parseMetrics, parseValue } from "./metrics_text.js";

/**
 * @typedef {{model: string, version: string, ok: number, refused: number, failed: number, rows: number, queue: number, inflight: number, buckets: Map<number, number>}} VersionCounts
 *   refused: requests with a status from 400 on, failed: from 500 on. buckets: requests by the upper limit of their seconds, cumulative
 * @typedef {{pid: string, memory: number, cpu: number, started: number}} Worker cpu: processor seconds since the worker started
 * @typedef {{versions: Map<string, VersionCounts>, workers: Worker[], problems: number, lost: number}} Counts
 */

const OF_VERSIONS = ["tabserve_model_info", "tabserve_requests_total", "tabserve_request_seconds_bucket", "tabserve_rows_total", "tabserve_queue_rows", "tabserve_inflight_rows"];
const OF_WORKERS = ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"];
const NAMES = new Set([...OF_VERSIONS, ...OF_WORKERS, "tabserve_version_problems", "tabserve_lost_series"]);

/** @param {string} text of `/metrics` @returns {Counts} */
export function readCounts(text) {
  /** @type {Counts} */
  const counts = { versions: new Map(), workers: [], problems: 0, lost: 0 };
  /** @type {Map<string, Worker>} */
  const workers = new Map();
  for (const { name, labels, value } of parseMetrics(text, NAMES)) {
    if (OF_VERSIONS.includes(name)) addToVersion(versionOf(counts, labels), name, labels, value);
    else if (OF_WORKERS.includes(name)) addToWorker(workers, name, labels.worker, value);
    else if (name === "tabserve_version_problems") counts.problems = value;
    else counts.lost = value;
  }
  counts.workers = [...workers.values()].sort((a, b) => Number(a.pid) - Number(b.pid));
  return counts;
}

/** @param {Counts} counts @param {Record<string, string>} labels @returns {VersionCounts} */
function versionOf(counts, { model, version }) {
  const key = JSON.stringify([model, version]);
  let found = counts.versions.get(key);
  if (!found) {
    found = { model, version, ok: 0, refused: 0, failed: 0, rows: 0, queue: 0, inflight: 0, buckets: new Map() };
    counts.versions.set(key, found);
  }
  return found;
}

/** @param {VersionCounts} version @param {string} name @param {Record<string, string>} labels @param {number} value */
function addToVersion(version, name, labels, value) {
  if (name === "tabserve_requests_total") {
    const status = Number(labels.status);
    version[status >= 500 ? "failed" : status >= 400 ? "refused" : "ok"] += value;
  } else if (name === "tabserve_request_seconds_bucket") {
    const limit = parseValue(labels.le);
    version.buckets.set(limit, (version.buckets.get(limit) ?? 0) + value);
  } else if (name === "tabserve_rows_total") version.rows += value;
  else if (name === "tabserve_queue_rows") version.queue += value;
  else if (name === "tabserve_inflight_rows") version.inflight += value;
}

/** @param {Map<string, Worker>} workers @param {string} name @param {string} pid @param {number} value */
function addToWorker(workers, name, pid, value) {
  const worker = workers.get(pid) ?? { pid, memory: 0, cpu: 0, started: 0 };
  workers.set(pid, worker);
  if (name === "process_resident_memory_bytes") worker.memory = value;
  else if (name === "process_cpu_seconds_total") worker.cpu = value;
  else worker.started = value;
}

/** @param {VersionCounts} version */
export const requestsOf = (version) => version.ok + version.refused + version.failed;

/** The sums over all versions of all models. @param {Counts} counts @returns {VersionCounts} */
export function totalOf(counts) {
  const total = { model: "", version: "", ok: 0, refused: 0, failed: 0, rows: 0, queue: 0, inflight: 0, buckets: new Map() };
  for (const version of counts.versions.values()) {
    for (const field of /** @type {const} */ (["ok", "refused", "failed", "rows", "queue", "inflight"])) total[field] += version[field];
    for (const [limit, count] of version.buckets) total.buckets.set(limit, (total.buckets.get(limit) ?? 0) + count);
  }
  return total;
}
