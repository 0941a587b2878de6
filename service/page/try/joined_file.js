/** The result of a scored file: the columns of the file, and the predictions to their right. */
import { cells, delimiterOf, record } from "./csv.js";
import { RecordReader } from "./record_reader.js";

const PART_RECORDS = 20_000; // records of the result that form one part of the blob
const LISTED = 100;

/**
 * @typedef {{row: number, message: string}} Problem
 * @typedef {{rows: number, invalid: number, warned: number, problems: Problem[]}} Counts
 * @typedef {Counts & {result: Blob, joined: boolean}} Scored joined: whether the input columns are in the result
 */

/**
 * The lines of a CSV with their predictions, or only the predictions if the rows do not match.
 * @param {Blob} input the CSV
 * @param {string} encoding of the input
 * @param {Blob} answer the CSV of predictions
 * @returns {Promise<Scored>}
 */
export async function joinedFile(input, encoding, answer) {
  const predictions = new RecordReader(answer, "utf-8"), inputs = new RecordReader(input, encoding);
  const header = cells((await predictions.first()) ?? "");
  const inputHeader = (await inputs.first()) ?? "";
  const delimiter = delimiterOf(inputHeader);
  const counts = new RowCounts(header);
  const parts = [];
  let part = [inputHeader + delimiter + record(header, delimiter)];
  let joined = true;
  while (predictions.hasMore || (await predictions.fill())) {
    const line = predictions.take();
    const found = cells(line);
    const { stopped } = counts.add(found);
    const own = inputs.hasMore || (await inputs.fill()) ? inputs.take() : null;
    if (own === null && !stopped) joined = false;
    part.push(own === null ? line : own + delimiter + record(found, delimiter));
    if (part.length === PART_RECORDS) parts.push(new Blob([`${part.splice(0).join("\r\n")}\r\n`]));
  }
  if (inputs.hasMore || (await inputs.fill())) joined = false;
  parts.push(new Blob([part.length ? `${part.join("\r\n")}\r\n` : ""]));
  return { ...counts.found, joined, result: joined ? new Blob(parts, { type: "text/csv" }) : answer };
}

/** The result of an answer that already contains the input columns. @param {Blob} answer @returns {Promise<Scored>} */
export async function completeResult(answer) {
  const lines = new RecordReader(answer, "utf-8");
  const counts = new RowCounts(cells((await lines.first()) ?? ""));
  while (lines.hasMore || (await lines.fill())) counts.add(cells(lines.take()));
  return { ...counts.found, joined: true, result: answer };
}

/** Counts the rows of an answer, and lists the first invalid rows. */
class RowCounts {
  /** @param {string[]} header of the answer; an input column with the same name is further to the left */
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

/** The encoding of a file: UTF-8 if the start of the file is valid UTF-8, else the encoding of the training file, else windows-1252. @param {Blob} file @param {string | null | undefined} trained */
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
