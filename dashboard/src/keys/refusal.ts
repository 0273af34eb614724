import { Problem } from "../api/http";

/** A value of a form that the API rejected. */
export interface Refusal {
  /** The member of the request. */
  member: "name" | "description" | "cidrs" | "expires_at";
  text: string;
}

/** The rejected value, if the error is about one that the form can mark. */
export function refusal(error: unknown, sent: { name?: string; cidrs?: string[] }): Refusal | undefined {
  if (!(error instanceof Problem) || error.status !== 422) return undefined;
  const [, member, index = "0"] = /^(\w+)(?:\[(\d+)\])?[^:]*: /.exec(error.detail) ?? [];
  switch (member) {
    case "name":
      return { member, text: sent.name === "" ? "Enter a name." : "The name contains an invisible character. Type it again." };
    case "description":
      return { member, text: "The description contains an invisible character. Type it again." };
    case "cidrs": {
      const network = sent.cidrs?.[Number(index)];
      return { member, text: network === undefined || (sent.cidrs?.length ?? 0) > 20 ? "Enter at most 20 addresses." : explained(network) };
    }
    case "expires_at":
      return { member, text: "Choose a day within the next 10 years." };
    default:
      return undefined;
  }
}

/** The rejection of a member, until its value is changed from the one that was sent. */
export function refusalOf<M extends Refusal["member"]>(
  refused: Refusal | undefined,
  member: M,
  sent: Partial<Record<M, unknown>>,
  now: Partial<Record<M, unknown>>,
): string {
  return refused?.member === member && JSON.stringify(now[member]) === JSON.stringify(sent[member]) ? refused.text : "";
}

function explained(network: string): string {
  const [, a, b, c, d, prefix] = (/^(\d+)\.(\d+)\.(\d+)\.(\d+)\/(\d+)$/.exec(network) ?? []).map(Number);
  if (a !== undefined && b !== undefined && c !== undefined && d !== undefined && prefix !== undefined) {
    if ([a, b, c, d].every((byte) => byte < 256) && prefix <= 32) {
      const mask = prefix === 0 ? 0 : -1 << (32 - prefix);
      const start = ((a << 24) | (b << 16) | (c << 8) | d) & mask;
      const text = [24, 16, 8, 0].map((bits) => (start >>> bits) & 255).join(".");
      return `${network} isn't a range. Did you mean ${text}/${prefix}?`;
    }
  }
  const typed = network.replace(/\/(32|128)$/, "");
  return `${typed} isn't an address or a range. Examples: 203.0.113.7, 203.0.113.0/24, 2001:db8::/32.`;
}
