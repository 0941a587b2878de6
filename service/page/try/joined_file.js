/** The result of a scored file: its own columns, and the predictions to their right. */
import { cells, delimiterOf, record, records } from "./csv.js";

const PART_RECORDS = 20_000; // of the result, joined to one part of the blob
const LISTED = 100;

/**
 * @typedef {{row: number, message: string}} Problem
 * @typedef {{rows: number, invalid: number, warned: number, problems: Problem[]}} Counts
 * @typedef {Counts & {result: Blob, joined: boolean}} Scored joined: whether the input columns are in the result
 */

/**
 * The predictions beside the lines of a CSV, or alone if the rows do not match.
 * @param {Blob} input the CSV
 * @param {string} encoding of the input
 * @param {Blob} answer the CSV of predictions
 * @returns {Promise<Scored>}
 */
export async function joinedFile(input, encoding, answer) {
  const predictions = lines(answer, "utf-8"), inputs = lines(input, encoding);
  const header = cells((await predictions.next()).value ?? "");
  const inputHeader = (await inputs.next()).value ?? "";
  const delimiter = delimiterOf(inputHeader);
  const counts = new RowCounts(header);
  const parts = [];
  let part = [inputHeader + delimiter + record(header, delimiter)];
  let joined = true;
  for await (const line of predictions) {
    const found = cells(line);
    const { stopped } = counts.add(found);
    const own = await inputs.next();
    if (own.done && !stopped) joined = false;
    part.push(own.done ? line : own.value + delimiter + record(found, delimiter));
    if (part.length === PART_RECORDS) parts.push(new Blob([`${part.splice(0).join("\r\n")}\r\n`]));
  }
  if (!(await inputs.next()).done) joined = false;
  parts.push(new Blob([part.length ? `${part.join("\r\n")}\r\n` : ""]));
  return { ...counts.found, joined, result: joined ? new Blob(parts, { type: "text/csv" }) : answer };
}

/** An answer that has the input columns already. @param {Blob} answer @returns {Promise<Scored>} */
export async function completeResult(answer) {
  const found = lines(answer, "utf-8");
  const counts = new RowCounts(cells((await found.next()).value ?? ""));
  for await (const line of found) counts.add(cells(line));
  return { ...counts.found, joined: true, result: answer };
}

/** Counts the rows of an answer, and lists the first that are not valid. */
class RowCounts {
  /** @param {string[]} header of the answer: an input column may have the same name, and is further to the left */
  constructor(header) {
    this.error = header.lastIndexOf("error");
    this.warnings = header.lastIndexOf("warnings");
    /** @type {Counts} */
    this.found = { rows: 0, invalid: 0, warned: 0, problems: [] };
  }

  /** @param {string[]} row @returns {{stopped: boolean}} whether the server has ended the answer with this row */
  add(row) {
    const { found } = this;
    const error = row[this.error];
    if (error) found.invalid++;
    if (error && found.problems.length < LISTED) found.problems.push({ row: found.rows, message: error });
    if (row[this.warnings]) found.warned++;
    found.rows++;
    return { stopped: Boolean(error?.startsWith("stopped:")) };
  }
}

/** @param {Blob} blob @param {string} encoding @returns {AsyncGenerator<string>} */
async function* lines(blob, encoding) {
  const text = blob.stream().pipeThrough(/** @type {any} */ (new TextDecoderStream(encoding)));
  for await (const some of records(text)) yield* some;
}

/** UTF-8 if the start of a file is, else what the model's own table had, else the usual one of older programs. @param {Blob} file @param {string | null | undefined} trained */
export async function encodingOf(file, trained) {
  const size = 1 << 20;
  const start = await file.slice(0, size).arrayBuffer();
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(start, { stream: file.size > size });
    return "utf-8";
  } catch {
    return trained || "windows-1252";
  }
}
