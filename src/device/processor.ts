/** What Linux tells of the processor, on which software adapters run their kernels. */
import { readFileSync } from 'node:fs';
import type { ProcessorTraits } from './gpu.js';

/** The text of /proc/cpuinfo; empty on other systems. */
export const processorFacts = (): string => (process.platform === 'linux' ? readFileSync('/proc/cpuinfo', 'utf8') : '');

/** Whether /proc/cpuinfo lists a feature, such as avx2. */
export const hasFeature = (facts: string, feature: string): boolean => new RegExp(`^(flags|Features)\\s*:.*\\b${feature}\\b`, 'm').test(facts);

/** Intel's from Sapphire Rapids on. */
const isRecentXeon = (facts: string): boolean => facts.includes('GenuineIntel') && hasFeature(facts, 'avx512_fp16');

/**
 * What is known to matter for kernels. Long loops suit AMD's processors from Zen 4 on, which are those with AVX-512 and keep some 6,750 instructions decoded,
 * and Intel's from Sapphire Rapids on, which keep 4,096 but decode six at a time and have AVX-512 with float16; Zen 3 and earlier processors of Intel's keep
 * 4,096 and less, and decode four or five. Reading a buffer takes many short instructions and branches, which those recent Xeons take well as they come:
 * measured on Emerald Rapids, Zen 3 and Zen 4.
 *
 * @param facts as {@link processorFacts}
 */
export const processorTraits = (facts = processorFacts()): ProcessorTraits => ({
  longLoops: (facts.includes('AuthenticAMD') && hasFeature(facts, 'avx512f')) || isRecentXeon(facts), quickBuffers: isRecentXeon(facts),
});
