// Whether a claim about the chain is true, decided from a file and the network key alone.

export { AUDIT_ADDRESS, WINDOW_STATUSES, type Audit, type WindowStatus } from './audit.js';
export { BEACON_BYTES_MAX, BEACON_FORMAT, randomness, verifyBeacon, type Beacon } from './beacon.js';
export { CERTIFICATE_FORMAT, type CustomerStatement, type Job, type ResultCertificate } from './certificate.js';
export { FORMAT, HEADERS_MAX, describe, type Bundle, type Certificate, type Claim } from './claim.js';
export { BUNDLE_BYTES_MAX, MAP_BYTES_MAX } from './json.js';
export { CHANNEL_ADDRESS } from './map-words.js';
export { MAP_FORMAT, type MapCertificate, type MapChannel, type MapWindow } from './map.js';
export { MARKET_ADDRESS, ORDER_STATUSES, type Order, type OrderReason, type OrderStatus } from './market.js';
export {
  compareResults,
  describeDifference,
  outputName,
  resultRoot,
  type Comparison,
  type Difference,
  type NamedOutput,
  type Results,
} from './outputs.js';
export { beaconMessage, certificateMessage, decodeKey, seedMessage, verifySignature } from './signature.js';
export {
  AGE_MS_MAX_NOW,
  LEAD_MS_MAX,
  STEPS,
  verify,
  type BlockFacts,
  type Reader,
  type Report,
  type StepResult,
  type Verdict,
} from './verify.js';
