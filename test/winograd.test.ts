/** Winograd's algorithm: where it is used, and how much exactness it costs. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { worstError } from '../src/autograd/verify.js';
import type { Runtime } from '../src/kernels/runtime.js';
import { CaseRandom } from '../src/ops/cases.js';
import { WINOGRAD } from '../src/ops/conv2d-cases.js';
import { conv2d, conv2dOp } from '../src/ops/index.js';
import { nd } from '../src/ops/nd.js';
import { suitsWinograd } from '../src/ops/winograd.js';
import type { Pair } from '../src/ops/arguments.js';
import { numel, type Shape } from '../src/tensor/shape.js';
import { setDefaultRuntime, tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { openRuntime } from './support/runtime.js';

const wherePossible = await openRuntime({ winograd: 'on' });
const never = await openRuntime({ winograd: 'off' });

interface Layer {
  readonly x: Shape;
  readonly w: Shape;
  readonly padding: Pair;
  readonly stride?: Pair;
}

const layerOf = (taps: Pair, options: Partial<Layer> = {}): Layer =>
  ({ x: [1, 12, 12, 64], w: [...taps, 64, 16], padding: [taps[0] >> 1, taps[1] >> 1], ...options });

const normal = (seed: number, shape: Shape): Float32Array => {
  const random = new CaseRandom(seed);
  return Float32Array.from({ length: numel(shape) }, () => Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next()));
};

const inputsOf = ({ x, w }: Layer) => ({ x: normal(1, x), w: normal(2, w) });

/** The result, and the names of the shaders that made it. */
const convolve = (runtime: Runtime, layer: Layer): Promise<{ y: Float32Array; shaders: Set<string> }> => scope(async () => {
  setDefaultRuntime(runtime);
  const { x, w } = inputsOf(layer);
  const shaders = new Set<string>();
  runtime.recorder.observe({ dispatching: ({ kernel }) => { shaders.add(kernel.shader.name); return null; } });
  const y = conv2d(tensor(x, layer.x), tensor(w, layer.w), null, { padding: layer.padding, stride: layer.stride ?? 1 });
  const data = Float32Array.from(await y.data());
  runtime.recorder.observe(null);
  return { y: data, shaders };
});

const usesWinograd = async (runtime: Runtime, layer: Layer): Promise<boolean> =>
  [...(await convolve(runtime, layer)).shaders].some((name) => name.startsWith('winograd'));

t.test('it is used for the taps it has tiles for, without stride', async (t) => {
  for (const taps of [[3, 3], [5, 5], [1, 3], [3, 1], [1, 7], [7, 1]] as const) {
    t.ok(await usesWinograd(wherePossible, layerOf(taps)), `${taps.join('×')}`);
    t.notOk(await usesWinograd(wherePossible, layerOf(taps, { stride: [2, 2] })), `${taps.join('×')} with stride`);
    t.notOk(await usesWinograd(never, layerOf(taps)), `${taps.join('×')}, off`);
  }
  for (const taps of [[1, 1], [7, 7], [3, 5], [2, 2]] as const) t.notOk(await usesWinograd(wherePossible, layerOf(taps)), `${taps.join('×')}`);
});

/** Root of the mean square of a result's errors against float64. */
const errorOf = (y: Float32Array, reference: Float64Array): number => Math.sqrt(y.reduce((sum, v, i) => sum + (v - reference[i]!) ** 2, 0) / y.length);

/** How many times the direct sum's errors, as root mean squares, in a simulation with 64 channels whose products are rounded to float32. */
const SIMULATED = [[[3, 3], 5.3], [[5, 5], 6.1], [[1, 3], 2.5], [[3, 1], 2.5], [[1, 7], 9.1], [[7, 1], 9.1]] as const;

t.test('its errors are a small multiple of the direct sum\'s', async (t) => {
  for (const [taps, simulated] of SIMULATED) {
    const layer = layerOf(taps);
    const { x, w } = inputsOf(layer);
    const attrs = { stride: [1, 1], dilation: [1, 1], groups: 1, padding: layer.padding } as const;
    const reference = conv2dOp.reference([nd(layer.x, x), nd(layer.w, w)], attrs).data;
    const [fast, direct] = [errorOf((await convolve(wherePossible, layer)).y, reference), errorOf((await convolve(never, layer)).y, reference)];
    // Adapters add up in another order and may fuse multiplications with additions; a wrong coefficient costs orders of magnitude.
    t.ok(direct > 0 && fast < 2 * simulated * direct, `${taps.join('×')}: ${(fast / direct).toFixed(1)} times`);
  }
});

t.test('it is chosen by channels, by what tiles compute beyond an image, and for each form apart', async (t) => {
  const attrs = { dilation: [1, 1], groups: 1, padding: [1, 1] } as const;
  const suits = (channels: number, side: number, along: 'rows' | 'weights', { winograd = 36, winogradWeights = 43, stride = 1 } = {}): boolean =>
    suitsWinograd(
      { gemm: { winograd, winogradWeights } } as Runtime, [3, 3, channels, channels], [8, side, side, channels], { ...attrs, stride: [stride, stride] }, along,
    );
  t.same([suits(64, 16, 'rows'), suits(64, 16, 'weights')], [true, true]);
  t.same([suits(40, 16, 'rows'), suits(40, 16, 'weights')], [true, false], 'the limits of the two forms');
  t.same([suits(64, 9, 'rows'), suits(32, 224, 'rows')], [false, false], 'nine tiles of 36 products for 81 pixels; few channels');
  t.same([suits(64, 16, 'rows', { winograd: 0 }), suits(64, 16, 'weights', { winogradWeights: 0 })], [false, false], 'never');
  t.same([suits(64, 16, 'weights', { winograd: 0 }), suits(64, 16, 'rows', { winogradWeights: 0 })], [true, true], 'the other form');
  t.equal(suits(64, 16, 'rows', { stride: 2 }), false);
});

t.test('an image in several parts', async (t) => {
  const layer: Layer = { x: [1, 121, 123, 32], w: [3, 3, 32, 32], padding: [1, 1] };
  const inputs = inputsOf(layer);
  const grad = normal(3, layer.x);
  const trained = (runtime: Runtime): Promise<{ results: Float32Array[]; parts: number }> => scope(async () => {
    setDefaultRuntime(runtime);
    let parts = 0;
    runtime.recorder.observe({
      dispatching: ({ kernel }) => {
        if (kernel.shader.name === 'winograd' && kernel.entry === 'gradient') parts++;
        return null;
      },
    });
    const [x, w] = [tensor(inputs.x, layer.x).requiresGrad_(), tensor(inputs.w, layer.w).requiresGrad_()];
    const y = conv2d(x, w, null, { padding: layer.padding });
    backward(y, tensor(grad, y.shape));
    runtime.recorder.observe(null);
    const results = await Promise.all([y, x.grad!, w.grad!].map(async (r) => Float32Array.from(await r.data())));
    for (const leaf of [x, w]) leaf.grad!.release();
    return { results, parts };
  });
  const [fast, direct] = [await trained(wherePossible), await trained(never)];
  t.ok(fast.parts > 1, `${fast.parts} parts`);
  t.equal(direct.parts, 0);
  ['result', 'input gradient', 'weight gradient'].forEach((name, i) => {
    const { error } = worstError(fast.results[i]!, direct.results[i]!);
    // The bound of the op's own cases; a part that is missing or counted twice is an error of a tenth and more.
    t.ok(error < WINOGRAD.gradient!, `${name}: ${error.toExponential(1)} of its largest value`);
  });
});

t.teardown(() => {
  wherePossible.device.close();
  never.device.close();
});
