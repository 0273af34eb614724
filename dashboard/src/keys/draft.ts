import { link } from "../route.svelte";
import { networksIn, reachOf, scopesIn, type Reach } from "./Access.svelte";
import type { Keys } from "./keys.svelte";
import type { Key } from "../api/types";

export type Life = "7" | "30" | "90" | "365" | "date" | "never";

/** The form for a new key as typed so far. It survives a change of the view, so that Back loses nothing. */
export interface Draft {
  name: string;
  description: string;
  life: Life;
  date: string;
  reach: Reach;
}

/** The narrowest access that is useful without further choices. */
export const BLANK: Draft = { name: "", description: "", life: "90", date: "", reach: { kind: "read", scopes: [], cidrs: "" } };
export const blank = (): Draft => structuredClone(BLANK);

export const TEMPLATES: (Partial<Draft> & { name: string })[] = [
  { name: "CI deployment", description: "Deploys from CI.", life: "90", reach: { kind: "scopes", scopes: [], cidrs: "" } },
  { name: "Read-only report", description: "Reads data for a report.", life: "365" },
  { name: "Partner with fixed addresses", description: "Used by a partner from these addresses only.", life: "365" },
];

/**
 * The form as a link fills it in: `#/new?name=CI&scopes=read&days=30`, or like another key: `#/new?from=7Gh2kQ9XbT4m`. Anything
 * unknown is left at its default, and a person still has to press the button.
 */
export function filled(fill: URLSearchParams, keys: Keys): Draft {
  const draft = blank();
  const like = keys.find(fill.get("from") ?? "");
  if (like) Object.assign(draft, likeKey(like));
  draft.name = fill.get("name")?.slice(0, 100) ?? draft.name;
  draft.description = fill.get("description")?.slice(0, 500) ?? draft.description;
  const scopes = list(fill.get("scopes"));
  if (scopes !== undefined) draft.reach.kind = reachOf({ scopes, cidrs: [] }).kind;
  if (draft.reach.kind === "scopes" && scopes !== undefined) draft.reach.scopes = scopes;
  const networks = list(fill.get("networks"));
  if (networks !== undefined) draft.reach.cidrs = networks.join("\n");
  const days = fill.get("days");
  if (days === "never" || days === "7" || days === "30" || days === "90" || days === "365") draft.life = days;
  return draft;
}

/** A link to the form, filled in as it is now. */
export function toForm({ name, description, life, reach }: Draft): string {
  return link({
    kind: "new",
    fill: new URLSearchParams({
      ...(name === "" ? {} : { name }),
      ...(description === "" ? {} : { description }),
      scopes: scopesIn(reach).join(","),
      ...(reach.cidrs.trim() === "" ? {} : { networks: networksIn(reach).join(",") }),
      ...(life === "date" ? {} : { days: life }),
    }),
  });
}

function likeKey({ name, description, scopes, cidrs, created_at, expires_at }: Key): Partial<Draft> {
  // The lifetime nearest to the other key's.
  const days = expires_at === null ? Infinity : (Date.parse(expires_at) - Date.parse(created_at)) / 86_400_000;
  const life = days === Infinity ? "never" : days <= 15 ? "7" : days <= 60 ? "30" : days <= 200 ? "90" : "365";
  return { name, description, life, reach: reachOf({ scopes, cidrs }) };
}

function list(text: string | null): string[] | undefined {
  return text?.split(",").filter((part) => part !== "");
}
