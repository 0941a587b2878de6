/** Reads the records of a CSV one by one. It pauses regularly, so that the browser can handle the reader's input. */
import { records } from "./csv.js";

const BUSY_MS = 25; // the longest time without a pause
const AT_ONCE = 500; // records between two checks of the time

export class RecordReader {
  /** @param {Blob} blob @param {string} encoding */
  constructor(blob, encoding) {
    this.parts = records(blob.stream().pipeThrough(/** @type {any} */ (new TextDecoderStream(encoding))));
    /** @type {string[]} */
    this.part = [];
    this.place = this.end = 0;
    this.paused = performance.now();
  }

  /** Whether `take` has a record; if not, `fill` may find more. */
  get hasMore() {
    return this.place < this.end;
  }

  take() {
    return this.part[this.place++];
  }

  /** @returns {Promise<boolean>} whether there are more records */
  async fill() {
    if (performance.now() - this.paused > BUSY_MS) {
      await pause();
      this.paused = performance.now();
    }
    if (this.place === this.part.length) {
      const { done, value } = await this.parts.next();
      this.part = done ? [] : value;
      this.place = 0;
    }
    this.end = Math.min(this.place + AT_ONCE, this.part.length);
    return this.hasMore;
  }

  /** @returns {Promise<string | null>} null if there is none */
  async first() {
    return this.hasMore || (await this.fill()) ? this.take() : null;
  }
}

/** Wait until the browser has handled its other tasks. Unlike a timer, this does not take a second in a background tab. */
function pause() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve(null);
    };
    port2.postMessage(null);
  });
}
