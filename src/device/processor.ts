/** What Linux tells of the processor, on which software adapters run their kernels. */
import { readFileSync } from 'node:fs';

/** The text of /proc/cpuinfo; empty on other systems. */
export const processorFacts = (): string => (process.platform === 'linux' ? readFileSync('/proc/cpuinfo', 'utf8') : '');

/** Whether /proc/cpuinfo lists a feature, such as avx2. */
export const hasFeature = (facts: string, feature: string): boolean => new RegExp(`^(flags|Features)\\s*:.*\\b${feature}\\b`, 'm').test(facts);

/**
 * AMD's from Zen 4 on, which are those with AVX-512, keep some 6,750 instructions decoded. Zen 3 and Intel's keep 4,096 and less.
 *
 * @param facts as {@link processorFacts}
 */
export const keepsLongLoops = (facts = processorFacts()): boolean => facts.includes('AuthenticAMD') && hasFeature(facts, 'avx512f');
