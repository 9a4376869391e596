// Unix milliseconds and durations in words.

/** UTC: `2026-11-22 10:00:00.123 UTC`. Years beyond what `Date` knows are shown as milliseconds. */
export function utc(ms: bigint): string {
  const date = new Date(Number(ms));
  if (Number.isNaN(date.getTime())) return `${ms} ms after 1970`;
  return `${date.toISOString().replace('T', ' ').replace('Z', '')} UTC`;
}

/** A span in the unit that suits it: `350 ms`, `12.4 s`, `3 min 20 s`, `5 h 2 min`, `12 d 3 h`. */
export function span(ms: bigint): string {
  if (ms < 1_000n) return `${ms} ms`;
  if (ms < 60_000n) return `${ms / 1_000n}.${(ms / 100n) % 10n} s`;
  if (ms < 3_600_000n) return `${ms / 60_000n} min ${(ms / 1_000n) % 60n} s`;
  if (ms < 86_400_000n) return `${ms / 3_600_000n} h ${(ms / 60_000n) % 60n} min`;
  return `${ms / 86_400_000n} d ${(ms / 3_600_000n) % 24n} h`;
}
