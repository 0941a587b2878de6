/** Repeats work while a view is open, and pauses while the page is hidden. */

/**
 * @param {() => Promise<boolean>} work catches its errors and returns whether to continue
 * @param {number} seconds between two starts; more if the work takes long
 * @param {AbortSignal} signal
 */
export async function repeat(work, seconds, signal) {
  while (!signal.aborted) {
    const started = performance.now();
    if (!document.hidden && !(await work())) return;
    const taken = (performance.now() - started) / 1000;
    await pause(Math.max(seconds - taken, 3 * taken, 0.1), signal);
  }
}

/** @param {number} seconds @param {AbortSignal} signal @returns {Promise<void>} */
function pause(seconds, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    document.addEventListener("visibilitychange", done);
    signal.addEventListener("abort", done);
  });
}
