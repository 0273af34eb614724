// The caller's invoices, behind the Vega authorizer.

/** The caller. The authorizer writes it into the request context, which no client can. */
export interface CurrentUser {
  id: string;
  username: string;
  groups: string[];
  authenticatedBy: "jwt" | "other_pool" | "machine" | "api_key";
}

/** The part of an event of a REST API, or of an HTTP API with payload format 2.0, that names the caller. */
interface ApiEvent {
  version?: string;
  requestContext?: { authorizer?: Record<string, unknown> | null };
}

/** The caller of a request. Without one, the request didn't come through the authorizer: respond with 401. */
export function currentUser(event: ApiEvent): CurrentUser | undefined {
  const authorizer = event.requestContext?.authorizer;
  const context = (event.version === "2.0" ? authorizer?.lambda : authorizer) as Record<string, unknown> | null | undefined;
  const text = (name: string) => {
    const value = context?.[name];
    return typeof value === "string" && value !== "" ? value : undefined;
  };
  const [id, username, authenticatedBy] = [text("id"), text("username"), text("authenticated_by")];
  const groups = context?.groups === undefined ? [] : text("groups")?.split(" ");
  if (id === undefined || username === undefined || groups === undefined || groups.includes("")) return undefined;
  switch (authenticatedBy) {
    case "jwt":
    case "other_pool":
    case "machine":
      return { id, username, groups, authenticatedBy };
    case "api_key":
      return text("key_id") === undefined ? undefined : { id, username, groups, authenticatedBy };
    default:
      return undefined;
  }
}

export async function handler(event: ApiEvent) {
  const user = currentUser(event);
  if (user === undefined) {
    return {
      statusCode: 401,
      headers: { "Content-Type": "application/problem+json", "Cache-Control": "no-store" },
      body: JSON.stringify({ type: "about:blank", title: "Unauthorized", status: 401, error: "invalid_token" }),
    };
  }
  return {
    statusCode: 200,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ invoices_of: user.id, groups: user.groups }),
  };
}
