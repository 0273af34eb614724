/** The API's types under the dashboard's names. `npm run types` generates `openapi.ts` from docs/openapi.json. */
import type { components } from "./openapi";

type Schemas = components["schemas"];

/** The `error` of a problem. */
export type ErrorCode = Schemas["ErrorCode"];
export type Key = Schemas["Key"];
export type Status = Schemas["KeyState"];
/** A new key: the only response that contains the whole key. */
export type CreatedKey = Schemas["CreatedKey"];
export type NewKey = Schemas["NewKey"];
export type KeyPatch = Schemas["KeyPatch"];
export type EnabledKeys = Schemas["EnabledKeys"];
export type AuditEvent = Schemas["AuditEvent"];
export type Scope = Schemas["Scope"];
export type CurrentUser = Schemas["CurrentUser"];
export type SessionToken = Schemas["SessionToken"];
export type SignInConfig = Schemas["DashboardConfig"];

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}
