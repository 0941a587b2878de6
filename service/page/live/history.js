/** The history of the server's counters in the last minutes: rates and quantiles between two moments. */
import { requestsOf, totalOf } from "./counts.js";

/**
 * @typedef {import("./counts.js").Counts} Counts
 * @typedef {import("./counts.js").VersionCounts} VersionCounts
 * @typedef {{time: number, counts: Counts}} Moment time: in seconds
 * @typedef {{requests: number, refused: number, failed: number, rows: number, p50: number | null, p99: number | null}} Activity
 *   requests, refused, failed, rows: per second; p50, p99: seconds, null without requests
 * @typedef {Activity & {time: number, queue: number, inflight: number}} Point
 */

export const SECONDS_KEPT = 300;

export class History {
  constructor() {
    /** @type {Moment[]} */
    this.moments = [];
  }

  /** @param {number} time in seconds @param {Counts} counts */
  add(time, counts) {
    const last = this.last;
    if (last && hasRestarted(last.counts, counts)) this.moments = [];
    this.moments.push({ time, counts });
    while (time - this.moments[0].time > SECONDS_KEPT) this.moments.shift();
  }

  /** @returns {Moment | undefined} */
  get last() {
    return this.moments.at(-1);
  }

  /** The activity of the whole server between each two moments. @returns {Point[]} */
  points() {
    return this.moments.slice(1).map(({ time, counts }, index) => {
      const before = this.moments[index];
      const now = totalOf(counts);
      return { time, queue: now.queue, inflight: now.inflight, ...activity(totalOf(before.counts), now, time - before.time) };
    });
  }

  /** The activity of one version in the last seconds. @param {string} key in `Counts.versions` @param {number} seconds @returns {Activity} */
  recent(key, seconds) {
    const last = this.last;
    const now = last?.counts.versions.get(key);
    if (!last || !now) return activity(undefined, undefined, 0);
    const first = this.moments.find((moment) => last.time - moment.time <= seconds) ?? last;
    return activity(first.counts.versions.get(key), now, last.time - first.time);
  }

  /** The share of a processor that each worker used between the last two moments, by process id. @returns {Map<string, number>} */
  processorShares() {
    const [before, last] = this.moments.slice(-2);
    if (!last) return new Map();
    const earlier = new Map(before.counts.workers.map((worker) => [worker.pid, worker.cpu]));
    return new Map(
      last.counts.workers
        .filter((worker) => earlier.has(worker.pid))
        .map((worker) => [worker.pid, Math.max(0, worker.cpu - /** @type {number} */ (earlier.get(worker.pid))) / (last.time - before.time)]),
    );
  }
}

/** Whether the server has been restarted: its counters never decrease otherwise. @param {Counts} before @param {Counts} now */
function hasRestarted(before, now) {
  return requestsOf(totalOf(now)) < requestsOf(totalOf(before));
}

/** @param {VersionCounts | undefined} before @param {VersionCounts | undefined} now @param {number} seconds @returns {Activity} */
export function activity(before, now, seconds) {
  const idle = { requests: 0, refused: 0, failed: 0, rows: 0, p50: null, p99: null };
  if (!now || !(seconds > 0)) return idle;
  const rate = (/** @type {"ok" | "refused" | "failed" | "rows"} */ field) => Math.max(0, now[field] - (before?.[field] ?? 0)) / seconds;
  const buckets = [...now.buckets].map(([limit, count]) => /** @type {[number, number]} */ ([limit, count - (before?.buckets.get(limit) ?? 0)]));
  return {
    requests: rate("ok") + rate("refused") + rate("failed"),
    refused: rate("refused"),
    failed: rate("failed"),
    rows: rate("rows"),
    p50: quantile(buckets, 0.5),
    p99: quantile(buckets, 0.99),
  };
}

/**
 * A quantile of a histogram, by linear interpolation within its bucket, as in Prometheus.
 * @param {[number, number][]} buckets upper limits with cumulative counts
 * @param {number} share
 * @returns {number | null} the last finite limit if the quantile lies beyond it
 */
export function quantile(buckets, share) {
  const sorted = [...buckets].sort((a, b) => a[0] - b[0]);
  const total = sorted.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  const rank = share * total;
  const place = sorted.findIndex(([, count]) => count >= rank);
  const [limit, count] = sorted[place];
  const [low, below] = place ? sorted[place - 1] : [0, 0];
  if (!Number.isFinite(limit)) return low;
  return count === below ? limit : low + ((limit - low) * (rank - below)) / (count - below);
}
