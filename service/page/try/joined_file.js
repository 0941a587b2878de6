/** The result of a scored CSV: its own columns, and the predictions to their right. */
import { cells, delimiterOf, record, records } from "./csv.js";

const PART_RECORDS = 20_000; // of the result, joined to one part of the blob
const LISTED = 100;

/**
 * @typedef {{row: number, message: string}} Problem
 * @typedef {{rows: number, invalid: number, warned: number, problems: Problem[], result: Blob, joined: boolean}} Scored
 */

/**
 * @param {Blob | null} input the CSV, null for a file that a browser cannot read
 * @param {string} encoding of the input
 * @param {Blob} answer the CSV of predictions
 * @returns {Promise<Scored>} joined: whether the input columns are in the result; not if the rows do not match
 */
export async function joinedFile(input, encoding, answer) {
  const predictions = lines(answer, "utf-8");
  const inputs = input && lines(input, encoding);
  const header = cells((await predictions.next()).value ?? "");
  const places = { error: header.indexOf("error"), warnings: header.indexOf("warnings") };
  const inputHeader = inputs && ((await inputs.next()).value ?? "");
  const delimiter = inputHeader ? delimiterOf(inputHeader) : ",";
  const parts = [], /** @type {Problem[]} */ problems = [];
  let rows = 0, invalid = 0, warned = 0, joined = inputs !== null;
  let part = [inputHeader ? inputHeader + delimiter + record(header, delimiter) : record(header, delimiter)];
  for await (const line of predictions) {
    const found = cells(line);
    const own = joined && inputs ? await inputs.next() : null;
    if (own?.done && !found[places.error].startsWith("stopped:")) joined = false;
    if (found[places.error]) {
      invalid++;
      if (problems.length < LISTED) problems.push({ row: rows, message: found[places.error] });
    }
    if (found[places.warnings]) warned++;
    part.push(own && !own.done ? own.value + delimiter + record(found, delimiter) : line);
    if (part.length === PART_RECORDS) parts.push(new Blob([`${part.splice(0).join("\r\n")}\r\n`]));
    rows++;
  }
  if (joined && inputs && !(await inputs.next()).done) joined = false;
  parts.push(new Blob([part.length ? `${part.join("\r\n")}\r\n` : ""]));
  return { rows, invalid, warned, problems, joined, result: joined ? new Blob(parts, { type: "text/csv" }) : answer };
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
