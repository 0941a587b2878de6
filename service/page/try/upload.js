/** Sends a file and reports its progress, which `fetch` cannot. */
import { ApiError, ServerUnreachable, keyHeaders } from "../api.js";

/**
 * @param {string} path
 * @param {Blob} body
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 * @param {(sent: number) => void} progress receives the sent share of the file
 * @returns {Promise<Blob>}
 */
export function upload(path, body, headers, signal, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", new URL(path, document.baseURI));
    for (const [name, value] of Object.entries({ ...keyHeaders(), ...headers })) request.setRequestHeader(name, value);
    request.responseType = "blob";
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = async () => {
      if (request.status < 400) return resolve(request.response);
      const text = await request.response.text();
      reject(new ApiError(request.status, parsed(text) ?? { title: request.statusText }));
    };
    request.onerror = () => reject(new ServerUnreachable("the server does not answer, or has ended the answer early"));
    request.onabort = () => reject(new DOMException("aborted", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
