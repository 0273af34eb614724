/** The API's types, as far as the dashboard uses them. */

export type Status = "active" | "disabled" | "expired" | "revoked";

export interface Key {
  id: string;
  name: string;
  description: string;
  status: Status;
  groups: string[];
  scopes: string[];
  cidrs: string[];
  created_at: string;
  expires_at: string | null;
  revoked_at: string | null;
  revoked_reason?: string | null;
  last_used_at: string | null;
  last_used_address: string | null;
  last_used_user_agent: string | null;
  rotated_from: string | null;
  rotated_to: string | null;
  version: number;
}

/** A key that was just made: the one answer that holds it whole. */
export type CreatedKey = Key & { key: string };

export interface NewKey {
  name: string;
  description?: string;
  scopes?: string[];
  cidrs?: string[];
  expires_at?: string | null;
  expires_in_days?: number;
}

export interface KeyPatch {
  name?: string;
  description?: string;
  scopes?: string[];
  cidrs?: string[];
  status?: "active" | "disabled";
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

export interface AuditEvent {
  at: string;
  event: "created" | "changed" | "rotated" | "disabled" | "enabled" | "revoked" | "expired" | "leaked" | "groups_reduced";
  key_id: string;
  actor: string | null;
  actor_username: string | null;
  address: string | null;
  request_id: string | null;
  reason: string | null;
  before: unknown;
  after: unknown;
}

export interface Scope {
  name: string;
  routes: string[];
}

export interface CurrentUser {
  id: string;
  username: string;
  groups: string[];
  authenticated_by: "jwt" | "api_key";
  key_id?: string;
  expires_at?: string;
}

/** `GET /v1/auth/config`. */
export type SignInConfig = { revocation_seconds: number; address: string } & (
  | { provider: "custom" }
  | { provider: "cognito"; region: string; user_pool_id: string; app_client_id: string; user_pool_endpoint?: string }
);
