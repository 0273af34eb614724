import type { Key } from "../api/types";
import { daysSince } from "../time";

/** Facts about a key that deserve attention. Each is shown in words, never by colour alone. */

/** Days before its expiry from which a key is marked. */
const SOON = 7;
/** Days without use after which a key is marked. */
const IDLE = 90;

export const isLive = (key: Key): boolean => key.status === "active" || key.status === "disabled";

export type Ending = "never" | "later" | "soon" | "over";

export function ending(key: Key, now: number): Ending {
  if (key.expires_at === null) return "never";
  const days = -daysSince(key.expires_at, now);
  return days <= 0 ? "over" : Math.floor(days) <= SOON ? "soon" : "later";
}

/** Active but unused for 90 days: probably forgotten. */
export const isForgotten = (key: Key, now: number): boolean =>
  key.status === "active" && daysSince(key.last_used_at ?? key.created_at, now) >= IDLE;

/** Used within the last day: revoking it is likely to break something. */
export const isInUse = (key: Key, now: number): boolean => isLive(key) && key.last_used_at !== null && daysSince(key.last_used_at, now) < 1;

export function access(key: Key): string {
  if (key.scopes.length === 0) return "All access";
  if (key.scopes.length === 1 && key.scopes[0] === "read") return "Read only";
  return key.scopes.join(", ");
}

export const networks = (key: Key): string => (key.cidrs.length === 0 ? "Anywhere" : key.cidrs.join(", "));

export const shortId = (id: string): string => `vk_${id}_…`;

/** When a revocation takes effect: the API's caches can reuse a decision until then. */
export const effect = (seconds: number): string =>
  seconds === 0
    ? "It stops working immediately, on the next request."
    : `It stops working within ${seconds} seconds: the API can reuse a decision for that long.`;

export type Sort = "-created_at" | "name" | "-last_used_at" | "expires_at";
export type Filter = "live" | "all" | "active" | "disabled" | "expired" | "revoked" | "attention";

export function select(keys: Key[], query: string, filter: Filter, sort: Sort, now: number): Key[] {
  const text = query.trim().toLowerCase();
  const id = /^vk_([0-9A-Za-z]{12})/.exec(query.trim())?.[1] ?? text.replace(/^vk_/, "");
  const matches = (key: Key) =>
    text === "" ||
    key.name.toLowerCase().includes(text) ||
    key.description.toLowerCase().includes(text) ||
    key.id.toLowerCase().startsWith(id.toLowerCase());
  const passes = (key: Key) => {
    if (filter === "all") return true;
    if (filter === "live") return isLive(key);
    if (filter === "attention") return isForgotten(key, now) || (isLive(key) && ending(key, now) === "soon") || key.status === "expired";
    return key.status === filter;
  };
  return keys.filter((key) => matches(key) && passes(key)).sort(order(sort));
}

function order(sort: Sort): (a: Key, b: Key) => number {
  const byTime = (at: string | null, missing: number) => (at === null ? missing : new Date(at).getTime());
  switch (sort) {
    case "name":
      return (a, b) => a.name.localeCompare(b.name, "en");
    case "-last_used_at":
      return (a, b) => byTime(b.last_used_at, 0) - byTime(a.last_used_at, 0);
    case "expires_at":
      return (a, b) => byTime(a.expires_at, Infinity) - byTime(b.expires_at, Infinity) || 0;
    case "-created_at":
      return (a, b) => byTime(b.created_at, 0) - byTime(a.created_at, 0);
  }
}
