import type { GemmKind } from '../../src/kernels/gemm-family.js';
import type { StepRecipe } from './step-training.js';

/** What a page shall do; see test/browser/page.ts. */
export interface PageTask {
  readonly gemm?: GemmKind;
  /** Names of the ops to prove; default all. */
  readonly only?: readonly string[];
  /** Whose steps to train, and how many of them. */
  readonly recipe?: StepRecipe;
  readonly steps?: number;
  /** A module to run instead, which imports Pipit from {@link LIBRARY}. */
  readonly example?: string;
  /**
   * A page to open instead: its address on the server, such as `/docs/look.html?picture=/a.png`. It ends when `body` has `data-ready`, and reports
   * its text.
   */
  readonly page?: string;
  /** What lies on the server, by path. */
  readonly files?: Readonly<Record<string, Uint8Array>>;
}

/** Where the page finds Pipit, and the task's example. */
export const [LIBRARY, EXAMPLE] = ['/browser.js', '/example.js'];

export type Report =
  | { kind: 'adapter'; name: string; subgroupSize: number }
  | { kind: 'case'; op: string; passed: boolean; text: string }
  | { kind: 'step'; losses: number[] }
  | { kind: 'said'; text: string }
  | { kind: 'end'; failure?: string };
