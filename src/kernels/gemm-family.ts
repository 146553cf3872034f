import type { AdapterReport } from '../device/gpu.js';
import { fail } from '../errors.js';

/**
 * How matrix products and convolutions are computed on an adapter.
 * - `broadcast`: a subgroup holds different rows and shares them by subgroupBroadcast. The only way to be
 *   fast on software adapters, where a load costs as much as dozens of multiply-adds.
 * - `tile`: tiles in workgroup memory, the usual way on GPUs; needs no optional feature.
 */
export interface GemmFamily {
  readonly kind: 'broadcast' | 'tile';
  /** Lanes of a subgroup (broadcast only). */
  readonly subgroupSize: number;
}

export const gemmFamily = (report: AdapterReport, forced?: string): GemmFamily => {
  if (forced !== undefined && forced !== '' && forced !== 'broadcast' && forced !== 'tile') fail(`unknown GEMM family "${forced}"; use broadcast or tile`);
  if (forced === 'broadcast' && report.subgroupSize === 0) fail(`the broadcast kernels need subgroups of one fixed size, which "${report.name}" does not have; use tile`);
  const broadcast = forced ? forced === 'broadcast' : report.software && report.subgroupSize > 0;
  return broadcast ? { kind: 'broadcast', subgroupSize: report.subgroupSize } : { kind: 'tile', subgroupSize: 0 };
};
