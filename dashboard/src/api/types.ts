/** The API's types, by the names that the dashboard uses: `openapi.ts` is made from docs/openapi.json by `npm run types`. */
import type { components } from "./openapi";

type Schemas = components["schemas"];

export type Key = Schemas["Key"];
export type Status = Schemas["KeyState"];
/** A key that was just made: the one answer that holds it whole. */
export type CreatedKey = Schemas["NewlyMadeKey"];
export type NewKey = Schemas["NewKey"];
export type KeyPatch = Schemas["KeyPatch"];
export type AuditEvent = Schemas["AuditEvent"];
export type Scope = Schemas["Scope"];
export type CurrentUser = Schemas["CurrentUser"];
export type SignInConfig = Schemas["DashboardConfig"];

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}
