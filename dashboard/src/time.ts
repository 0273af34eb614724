/** Formats times for people. The page is in English, so its times are too. */
const DAY = 86_400_000;
const minute = { year: "numeric", day: "numeric", hour: "numeric", minute: "2-digit", timeZoneName: "short" } as const;
const exactFormat = new Intl.DateTimeFormat("en", { ...minute, month: "short" });
const longFormat = new Intl.DateTimeFormat("en", { ...minute, month: "long", weekday: "long" });
const relativeFormat = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** `Nov 24, 2026, 9:03 PM GMT+1`, in the reader's time zone. */
export const exact = (at: string): string => exactFormat.format(new Date(at));

/** `Tuesday, November 24, 2026 at 9:03 PM GMT+1`. */
export const long = (at: Date): string => longFormat.format(at);

/** `3 hours ago`, `in 12 days`. */
export function relative(at: string, now: number): string {
  const seconds = Math.round((new Date(at).getTime() - now) / 1000);
  const distance = Math.abs(seconds);
  // The server's clock may be ahead of this machine's.
  if (distance < 45) return "just now";
  if (distance < 45 * 60) return relativeFormat.format(Math.round(seconds / 60), "minute");
  if (distance < 22 * 3600) return relativeFormat.format(Math.round(seconds / 3600), "hour");
  if (distance < 120 * 86_400) return relativeFormat.format(Math.round(seconds / 86_400), "day");
  if (distance < 700 * 86_400) return relativeFormat.format(Math.round(seconds / (30.44 * 86_400)), "month");
  return relativeFormat.format(Math.round(seconds / (365.25 * 86_400)), "year");
}

/** Days since `at`; negative if it is in the future. */
export const daysSince = (at: string, now: number): number => (now - new Date(at).getTime()) / DAY;

export const inDays = (days: number, now: number): Date => new Date(now + days * DAY);
