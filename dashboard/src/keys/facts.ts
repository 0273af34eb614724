import type { Key } from "../api/types";
import { daysSince } from "../time";

/** Facts about a key that deserve attention. Each is shown in words, never by colour alone. */

/** Days before its expiry from which a key is marked. */
const SOON = 7;
/** Days without use after which a key is marked. */
const IDLE = 90;

export const isLive = (key: Key): boolean => key.status === "active" || key.status === "disabled";

export const isExpiringSoon = (key: Key, now: number): boolean =>
  isLive(key) && key.expires_at !== null && -daysSince(key.expires_at, now) < SOON + 1;

/** Active but unused for 90 days: probably forgotten. */
export const isForgotten = (key: Key, now: number): boolean =>
  key.status === "active" && daysSince(key.last_used_at ?? key.created_at, now) >= IDLE;

/** Used within the last day: revoking it is likely to break something. */
export const isInUse = (key: Key, now: number): boolean => isLive(key) && key.last_used_at !== null && daysSince(key.last_used_at, now) < 1;

/**
 * Days for which no use of a rotated key has been recorded, if that is at least one: a shorter time proves little. The API records
 * the first use after a rotation, except one that a decision cache served.
 */
export function daysUnusedSinceRotation(key: Key, now: number): number | undefined {
  if (key.rotated_at === null) return undefined;
  if (key.last_used_at !== null && key.last_used_at >= key.rotated_at) return undefined;
  const days = daysSince(key.rotated_at, now);
  return days >= 1 ? days : undefined;
}

export function access(key: Pick<Key, "scopes">): string {
  if (key.scopes.length === 0) return "Full access";
  if (key.scopes.length === 1 && key.scopes[0] === "read") return "Read only";
  return key.scopes.join(", ");
}

export const networks = (key: Pick<Key, "cidrs">): string => (key.cidrs.length === 0 ? "Any address" : key.cidrs.map(short).join(", "));

/** A network of one address is shown as the address. */
export const short = (network: string): string => network.replace(network.includes(":") ? /\/128$/ : /\/32$/, "");

export const shortId = (id: string): string => `vk_${id}_…`;

/** When a revocation takes effect: the API's caches can reuse a decision until then. */
export const effect = (seconds: number): string =>
  seconds === 0 ? "It stops working immediately." : `It stops working within ${seconds} seconds.`;

export const SORTS = ["-created_at", "name", "-last_used_at", "expires_at"] as const;
export type Sort = (typeof SORTS)[number];

/** The filters that find keys in need of attention. */
export const ATTENTION = ["soon", "unused", "never", "open"] as const;
export const FILTERS = ["live", "all", "active", "disabled", "expired", "revoked", ...ATTENTION] as const;
export type Filter = (typeof FILTERS)[number];

export function passes(key: Key, filter: Filter, now: number): boolean {
  switch (filter) {
    case "all":
      return true;
    case "live":
      return isLive(key);
    case "soon":
      return isExpiringSoon(key, now);
    case "unused":
      return isForgotten(key, now);
    case "never":
      return isLive(key) && key.expires_at === null;
    case "open":
      return isLive(key) && key.cidrs.length === 0;
    default:
      return key.status === filter;
  }
}

export function search(keys: Key[], query: string): Key[] {
  const text = query.trim().toLowerCase();
  if (text === "") return keys;
  const id = (/^vk_([0-9A-Za-z]{12})/.exec(query.trim())?.[1] ?? text.replace(/^vk_/, "")).toLowerCase();
  return keys.filter(
    (key) => key.name.toLowerCase().includes(text) || key.description.toLowerCase().includes(text) || key.id.toLowerCase().startsWith(id),
  );
}

export const sorted = (keys: Key[], sort: Sort): Key[] => [...keys].sort(ORDERS[sort]);

const { compare } = new Intl.Collator("en");
const lastUse = (key: Key) => key.last_used_at ?? "";
/** The API's times are all of the same form, so their text sorts as they do. */
const ORDERS: Record<Sort, (a: Key, b: Key) => number> = {
  name: (a, b) => compare(a.name, b.name),
  "-last_used_at": (a, b) => order(lastUse(b), lastUse(a)),
  expires_at: (a, b) => order(a.expires_at ?? "~", b.expires_at ?? "~"),
  "-created_at": (a, b) => order(b.created_at, a.created_at),
};

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** An address as a number, and its number of bits; nothing if it isn't one. */
function parsed(address: string): [bigint, number] | undefined {
  const bytes = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(address)?.slice(1).map(Number);
  if (bytes) return bytes.every((byte) => byte < 256) ? [bytes.reduce((number, byte) => number * 256n + BigInt(byte), 0n), 32] : undefined;
  if (!address.includes(":") || !URL.canParse(`http://[${address}]`)) return undefined;
  // The browser's own form has no IPv4 part, and at most one `::`.
  const [head = "", tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const [before, after] = [head, tail ?? ""].map((part) => (part === "" ? [] : part.split(":"))) as [string[], string[]];
  const groups = [...before, ...Array<string>(8 - before.length - after.length).fill("0"), ...after];
  return [groups.reduce((number, group) => number * 65536n + BigInt(`0x${group}`), 0n), 128];
}

/** Whether a key that is limited to these networks can be used from an address; nothing if it isn't one. */
export function allows(cidrs: string[], address: string): boolean | undefined {
  const [number, bits] = parsed(address) ?? [];
  if (number === undefined || bits === undefined) return undefined;
  const contains = (cidr: string) => {
    const [network = "", prefix = ""] = cidr.split("/");
    const [start, of] = parsed(network) ?? [];
    const shift = BigInt(bits - Number(prefix));
    return of === bits && start !== undefined && start >> shift === number >> shift;
  };
  return cidrs.length === 0 || cidrs.some(contains);
}
