/** A network in evaluation as an ONNX file, for the engines that serve such files. */
import { fail } from '../../errors.js';
import { writeFileAtomic } from '../../io/atomic.js';
import { encodeOnnx } from '../../io/onnx.js';
import type { Runtime } from '../../kernels/runtime.js';
import { inEvaluation } from '../../nn/module.js';
import { mean, zeros } from '../../ops/index.js';
import { scope } from '../../tensor/scope.js';
import type { Shape } from '../../tensor/shape.js';
import type { Tensor } from '../../tensor/tensor.js';
import { WSDAN } from '../../wsdan/model.js';
import type { Method } from '../method.js';
import { Emission, onnxShape } from './emission.js';
import { emitters } from './emitters.js';
import { OnnxGraph } from './graph.js';
import { Trace, type Value } from './trace.js';

const OPSET = 13;
const VARIABLE = 'batch';

interface OnnxOptions {
  /** Called on the input; the results by the names they shall have. */
  readonly forward: (input: Tensor) => Readonly<Record<string, Tensor>>;
  readonly input: Tensor;
  readonly inputName: string;
  /** Lets the first axis of input and results vary. */
  readonly variableBatch: boolean;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Runs `forward` once and writes what it did as an ONNX model. Everything with four axes is [N, C, H, W] there. */
export const traceToOnnx = async ({ forward, input, inputName, variableBatch, metadata = {} }: OnnxOptions): Promise<Uint8Array> => {
  const trace = new Trace(input);
  const results = trace.run(() => forward(input));
  const values = Object.entries(results).map(([name, tensor]): [string, Value] => [name, trace.valueOf(tensor)]);
  const graph = new OnnxGraph();
  const emission = new Emission(graph, await trace.readConstants(), variableBatch ? input.shape[0]! : null);
  emission.define(trace.input, inputName);
  for (const call of trace.calls) {
    const emit = emitters[call.op] ?? fail(`ONNX export: the op "${call.op}"${call.module ? ` in ${call.module}` : ''} has no counterpart yet; add one to src/train/onnx/emitters.ts`);
    graph.place = call.module.replaceAll('.', '/');
    emission.define(call.output, emit(emission, call));
  }
  graph.place = '';
  for (const [name, value] of values) graph.rename(emission.name(value), name);
  const declared = (name: string, shape: Shape) => ({ name, shape: onnxShape(shape).map((size, axis) => (variableBatch && axis === 0 ? VARIABLE : size)) });
  return encodeOnnx({
    producer: 'Pipit', opset: OPSET, name: 'network', nodes: graph.nodes, initializers: graph.initializers,
    inputs: [declared(inputName, input.shape)], outputs: values.map(([name, { shape }]) => declared(name, shape)), metadata,
  });
};

/** Two images show which axes follow the batch. */
const TRACED_BATCH = 2;

/** The raw pass: logits, and for WS-DAN the mean attention map [N, 1, h, w] and the feature matrix besides. */
const rawPass = ({ module }: Method) => (images: Tensor) => inEvaluation(module, (): Readonly<Record<string, Tensor>> => {
  if (!(module instanceof WSDAN)) return { logits: module.call(images) as Tensor };
  const { logits, featureMatrix, maps } = module.call(images);
  return { logits, map: mean(maps, 3, true), features: featureMatrix };
});

/**
 * Writes a network's raw pass atomically: input `images` [batch, 3, side, side], normalised as in training, results `logits`, `map`,
 * `features`.
 */
export const writeOnnx = async (path: string, runtime: Runtime, method: Method, side: number, metadata: Readonly<Record<string, string>>): Promise<number> => {
  const bytes = await scope(() => traceToOnnx({
    forward: rawPass(method), input: zeros([TRACED_BATCH, side, side, 3], { runtime, label: 'images' }), inputName: 'images', variableBatch: true, metadata,
  }));
  writeFileAtomic(path, bytes);
  return bytes.length;
};
