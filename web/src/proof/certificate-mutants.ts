// Every mutant of the certificates of a file of `specs/vectors` ends at the step at which it ends in Rust. Only tests use it.

import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, test } from 'vitest';
import { ascii, fromHex, toHex } from './bytes.js';
import { verify, type Report } from './index.js';
import { mutants } from './mutants.js';

/** A file of certificates, of results or of maps. */
interface CertificateFile {
  networkKey: string;
  otherNetworkKey: string;
  cases: Case[];
}

interface Case {
  name: string;
  file: string;
  nowMs: number;
  mutants?: { count: number; sha256: string; outcomes: string };
}

/** Which of the mutants a test file judges: each one whose number leaves `part` when divided by `parts`. */
interface Share {
  part: number;
  parts: number;
}

export function run(text: string, nowMs: number, networkKey: Uint8Array): Report {
  return verify(ascii(text), { networkKey, nowMs });
}

function outcome(report: Report): string {
  if (report.verdict === 'proved') return 'P';
  return report.verdict === 'proved false' ? 'F' : String(report.step);
}

/** `12x2 3xF` as one character per mutant. */
function expand(runs: string): string {
  return runs.replace(/(\d+)x(.) ?/g, (_, count: string, outcome: string) => outcome.repeat(Number(count)));
}

/** Declares the tests: the mutants are all made and compared by a digest, and those of this share are judged. */
export function mutantsEndAsInRust(file: CertificateFile, { part, parts }: Share): void {
  const networkKey = fromHex(file.networkKey) ?? new Uint8Array();
  const otherNetworkKey = fromHex(file.otherNetworkKey) ?? new Uint8Array();
  describe(`mutants, part ${part + 1} of ${parts}`, () => {
    test.each(file.cases.filter((entry) => 'mutants' in entry))('of $name end as in Rust', (entry) => {
      // A result certificate has no headers of its own, in whose place those of others could stand.
      const foreign = file.cases.map((other) => other.file).filter((text) => text !== entry.file);
      const { changed, truncated } = mutants(entry.file, foreign);
      const digest = sha256.create();
      const expected = expand(entry.mutants?.outcomes ?? '');
      let count = 0;
      let outcomes = '';
      let wanted = '';
      const judge = (text: string, key: Uint8Array) => {
        digest.update(ascii(`${text}\n`));
        if (count % parts === part) {
          outcomes += outcome(run(text, entry.nowMs, key));
          wanted += expected[count] ?? '?';
        }
        count += 1;
      };
      for (const text of changed) judge(text, networkKey);
      judge(entry.file, otherNetworkKey);
      for (const text of truncated) judge(text, networkKey);
      expect(toHex(digest.digest()).slice(2)).toBe(entry.mutants?.sha256);
      expect(count).toBe(entry.mutants?.count ?? 0);
      expect(expected).toHaveLength(count);
      expect(outcomes).not.toContain('P');
      expect(outcomes).toBe(wanted);
    });
  });
}
