// The other half of the mutants of `certificate.test.ts`: files run on several cores, the tests of one file do not.

import file from '../../../specs/vectors/result-certificates.json';
import { mutantsEndAsInRust } from './certificate-mutants.js';

mutantsEndAsInRust(file, { part: 1, parts: 2 });
