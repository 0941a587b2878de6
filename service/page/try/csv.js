/** CSV: cuts a stream into records, and reads or writes cells. */

const LONGEST = 1 << 21; // characters of a record; the server refuses longer lines, for example with an unclosed quote

/**
 * Yields the records of a text stream in batches, without blank lines. A line end within quotes belongs to its record.
 * @param {ReadableStream<string>} stream
 * @returns {AsyncGenerator<string[]>}
 */
export async function* records(stream) {
  let rest = "";
  const reader = stream.getReader();
  for (;;) {
    const { done, value = "" } = await reader.read();
    const { found, open } = cut(rest + value, done || rest.length > LONGEST);
    rest = open;
    if (found.length) yield found;
    if (done) return;
  }
}

/** @param {string} text @param {boolean} last whether the text ends here @returns {{found: string[], open: string}} */
function cut(text, last) {
  const found = [];
  let start = 0, quoted = false;
  const keep = (/** @type {number} */ end) => {
    const record = text.slice(start, end).replace(/\r$/, "");
    if (record.trim()) found.push(record);
  };
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 34) quoted = !quoted;
    else if (code === 10 && !quoted) {
      keep(at);
      start = at + 1;
    }
  }
  if (!last) return { found, open: text.slice(start) };
  keep(text.length);
  return { found, open: "" };
}

/** The cells of a record. @param {string} record @param {string} delimiter */
export function cells(record, delimiter = ",") {
  if (!record.includes('"')) return record.split(delimiter);
  const found = [];
  let cell = "", quoted = false;
  for (let at = 0; at < record.length; at++) {
    const one = record[at];
    if (quoted && one === '"' && record[at + 1] === '"') {
      cell += '"';
      at++;
    } else if (one === '"') quoted = !quoted;
    else if (one === delimiter && !quoted) {
      found.push(cell);
      cell = "";
    } else cell += one;
  }
  return [...found, cell];
}

/** @param {string[]} values @param {string} delimiter */
export function record(values, delimiter) {
  return values.map((value) => (/["\r\n]/.test(value) || value.includes(delimiter) ? `"${value.replaceAll('"', '""')}"` : value)).join(delimiter);
}

/** The delimiter of a header line: the most frequent delimiter that the server supports. @param {string} header */
export function delimiterOf(header) {
  const counts = [",", ";", "\t", "|"].map((mark) => ({ mark, count: header.split(mark).length }));
  return counts.reduce((best, one) => (one.count > best.count ? one : best)).mark;
}
