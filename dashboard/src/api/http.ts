import type { ErrorCode } from "./types";

/** An RFC 9457 problem from the API. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly error: ErrorCode | "unreachable" | "unknown",
    readonly detail: string,
    readonly retryAfter?: number,
  ) {
    super(detail);
  }
}

/** The API didn't respond at all. */
export class Unreachable extends Problem {
  readonly isOffline = !navigator.onLine;

  constructor() {
    super(
      0,
      "unreachable",
      navigator.onLine ? "The API didn't respond. Try again in a moment." : "You're offline. Try again when you're connected.",
    );
  }
}

export type Answer<T> = { ok: true; status: number; body: T; etag: string | null } | { ok: false; problem: Problem };

export interface Call {
  method?: "GET" | "POST" | "PATCH" | "DELETE";
  body?: unknown;
  headers?: Record<string, string>;
  /** Whether the request carries the session's cookie. */
  credentials?: "omit" | "same-origin";
}

/** A success without JSON isn't from the API. */
const INTERCEPTED =
  "Something between you and the API answered in its place, such as the sign-in page of a Wi-Fi network. Check your connection, then try again.";

/** Sends one request. Any response that doesn't conform to the API is returned as a problem, never thrown. */
export async function fetchJson<T>(url: URL, { method = "GET", body, headers = {}, credentials = "omit" }: Call = {}): Promise<Answer<T>> {
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(url, {
      method,
      headers: { accept: "application/json", ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      body: body === undefined ? null : JSON.stringify(body),
      cache: "no-store",
      credentials,
      referrerPolicy: "no-referrer",
      redirect: "error",
      signal: AbortSignal.timeout(30_000),
    });
    text = await answer.text();
  } catch {
    return { ok: false, problem: new Unreachable() };
  }
  const json = parsed(text);
  if (answer.ok && (json !== undefined || answer.status === 204)) {
    return { ok: true, status: answer.status, body: json as T, etag: answer.headers.get("etag") };
  }
  const { error = "unknown", detail = answer.ok ? INTERCEPTED : `The API responded with status ${answer.status}. Try again in a moment.` } =
    (json ?? {}) as Partial<Problem>;
  const seconds = Number(answer.headers.get("retry-after") ?? Number.NaN);
  return { ok: false, problem: new Problem(answer.status, error, detail, Number.isFinite(seconds) ? seconds : undefined) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
