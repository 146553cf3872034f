/** What Linux tells of the processor, on which software adapters run their kernels. */
import { readFileSync } from 'node:fs';

/** The text of /proc/cpuinfo; empty on other systems. */
export const processorFacts = (): string => (process.platform === 'linux' ? readFileSync('/proc/cpuinfo', 'utf8') : '');

/** Whether /proc/cpuinfo lists a feature, such as avx2. */
export const hasFeature = (facts: string, feature: string): boolean => new RegExp(`^(flags|Features)\\s*:.*\\b${feature}\\b`, 'm').test(facts);

/**
 * Whether kernels with long loops of machine code run as fast as the processor can, or nearly so: AMD's from Zen 4 on, which are those with AVX-512 and keep
 * some 6,750 instructions decoded, and Intel's from Sapphire Rapids on, which keep 4,096 but decode six at a time and have AVX-512 with float16. Zen 3 and
 * earlier processors of Intel's keep 4,096 and less, and decode four or five.
 *
 * @param facts as {@link processorFacts}
 */
export const runsLongLoops = (facts = processorFacts()): boolean =>
  (facts.includes('AuthenticAMD') && hasFeature(facts, 'avx512f')) || (facts.includes('GenuineIntel') && hasFeature(facts, 'avx512_fp16'));
