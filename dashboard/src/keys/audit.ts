import type { AuditEvent, Key } from "../api/types";
import { exact } from "../time";
import { access, networks, shortId } from "./facts";

/** Audit events in words. */

/** A key as its events show it. */
type Snapshot = Pick<Key, "name" | "description" | "groups" | "scopes" | "cidrs" | "expires_at" | "rotated_from" | "rotated_to">;

const TITLES: Record<AuditEvent["event"], string> = {
  created: "Created",
  changed: "Edited",
  rotated: "Rotated",
  disabled: "Disabled",
  enabled: "Enabled",
  revoked: "Revoked",
  expired: "Expired",
  leaked: "Reported as leaked, and revoked",
  groups_reduced: "Groups reduced to match the owner's",
};

export function title({ event, after }: AuditEvent): string {
  const { rotated_from, rotated_to } = after as Snapshot;
  if (event === "created" && rotated_from !== null) return `Created by rotating ${shortId(rotated_from)}`;
  if (event === "rotated" && rotated_to !== null) return `Replaced by ${shortId(rotated_to)}`;
  return TITLES[event];
}

const FIELDS: [string, (key: Snapshot) => string][] = [
  ["Name", ({ name }) => name],
  ["Description", ({ description }) => description || "none"],
  ["Access", access],
  ["IP addresses", networks],
  ["Groups", ({ groups }) => groups.join(", ") || "none"],
  ["Expires", ({ expires_at }) => (expires_at === null ? "never" : exact(expires_at))],
];

/** The fields that an event changed. */
export function changes({ before, after }: AuditEvent): { field: string; from: string; to: string }[] {
  if (before === null) return [];
  return FIELDS.map(([field, read]) => ({ field, from: read(before as Snapshot), to: read(after as Snapshot) })).filter(
    ({ from, to }) => from !== to,
  );
}
