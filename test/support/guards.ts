import type { BufferRange } from '../../src/kernels/recorder.js';
import type { Runtime } from '../../src/kernels/runtime.js';

/** Behind each result. A kernel without its guard begins to stray right behind the end; Dawn moves writes beyond a binding into its last element. */
const GUARD_BYTES = 1024;
/** No number that a kernel computes: the bits of a NaN with a payload. */
const INTACT = 0x7fc0f00d;

/**
 * From here on each kernel writes its results into copies with a guard behind them. The adapter lets no kernel write beyond its bindings, which
 * hides that it tried to: the last element of a result then has a race, which mostly ends well.
 *
 * @returns gives the results behind which was written since it was asked last
 */
export const guardResults = ({ recorder, device: { pool } }: Runtime): (() => Promise<string[]>) => {
  const plain = recorder.dispatch.bind(recorder);
  const rangeOf = (bytes: number): BufferRange => ({ buffer: pool.acquire(bytes, () => 'guarded result'), offset: 0, bytes });
  const intact = rangeOf(GUARD_BYTES);
  recorder.upload(intact, new Uint32Array(GUARD_BYTES / 4).fill(INTACT));
  let guards: { readonly result: string; readonly guard: BufferRange }[] = [];

  recorder.dispatch = (kernel, ranges, params, grid) => {
    const results = recorder.dry ? [] : Object.entries(ranges).filter(([name]) => kernel.shader.bindings.get(name)?.access === 'read_write');
    const copies = results.map(([name, own]) => {
      const whole = rangeOf(own.bytes + GUARD_BYTES);
      const [copy, guard] = [{ ...whole, bytes: own.bytes }, { ...whole, offset: own.bytes, bytes: GUARD_BYTES }];
      // What it holds already counts: kernels change results in place, and what they leave out must show.
      recorder.copy(own, copy);
      recorder.copy(intact, guard);
      guards.push({ result: `${kernel.key}: ${name}`, guard });
      return { name, own, copy, whole };
    });
    plain(kernel, { ...ranges, ...Object.fromEntries(copies.map(({ name, whole }) => [name, whole])) }, params, grid);
    for (const { own, copy } of copies) recorder.copy(copy, own);
  };

  return async () => {
    if (guards.length === 0) return [];
    const seen = guards;
    guards = [];
    const all = rangeOf(seen.length * GUARD_BYTES);
    seen.forEach(({ guard }, i) => recorder.copy(guard, { ...all, offset: i * GUARD_BYTES, bytes: GUARD_BYTES }));
    const bits = new Uint32Array(await recorder.read(all));
    for (const { buffer } of [all, ...seen.map(({ guard }) => guard)]) pool.release(buffer);
    const strayed = seen.filter((_, i) => bits.subarray((i * GUARD_BYTES) / 4, ((i + 1) * GUARD_BYTES) / 4).some((word) => word !== INTACT));
    return [...new Set(strayed.map(({ result }) => result))];
  };
};
