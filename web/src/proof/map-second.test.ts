// The other half of the mutants of `map.test.ts`.

import file from '../../../specs/vectors/map-certificates.json';
import { mutantsEndAsInRust } from './certificate-mutants.js';

mutantsEndAsInRust(file, { part: 1, parts: 2 });
