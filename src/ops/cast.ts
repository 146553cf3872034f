import source from '../../shaders/cast.wgsl';
import { fail } from '../errors.js';
import { Shader } from '../kernels/shader.js';
import { quadCount } from '../tensor/shape.js';
import { type DType, Tensor } from '../tensor/tensor.js';
import { integers } from './cases.js';
import { mapNd } from './nd.js';
import { bytesOf, dispatch, type Op, run, stretchesFor } from './op.js';

const shader = new Shader('cast', source);

interface Attrs {
  readonly to: DType;
}

const CODES: Record<string, number> = { 'int32 float32': 0, 'uint32 float32': 1, 'float32 int32': 2, 'float32 uint32': 3 };

export const castOp: Op<Attrs> = {
  name: 'cast',
  group: 'Shape',
  infer: ([shape]) => shape!,
  forward: ({ runtime, inputs: [x], attrs: { to }, shape }) => {
    // bool tensors hold 0 and 1 as float32.
    const [from, target] = [x!.dtype, to].map((dtype) => (dtype === 'bool' ? 'float32' : dtype));
    if (from === target) return x!.alias();
    const code = CODES[`${from} ${target}`];
    if (code === undefined) fail(`cast: ${x!.dtype} to ${to} is not supported; go through float32`);
    const y = Tensor.allocate(runtime, shape, to, 'cast');
    const quads = quadCount(shape);
    const { steps, grid } = stretchesFor(runtime, quads);
    dispatch(runtime, shader.kernel('forward', { OP: code }), { x: x!, y }, { quads, steps }, grid);
    return y;
  },
  backward: null,
  reference: ([x], { to }) => mapNd(x!.shape, (i) => (to === 'float32' ? x!.data[i]! : Math.trunc(x!.data[i]!))),
  cost: ([shape]) => ({ flops: 0, bytes: 2 * bytesOf(shape!) }),
  cases: [
    { name: 'int32 to float32', shapes: [[3, 5]], attrs: { to: 'float32' }, dtypes: ['int32'], fill: [integers(1000)] },
    { name: 'uint32 to float32', shapes: [[7]], attrs: { to: 'float32' }, dtypes: ['uint32'], fill: [integers(1000)] },
    { name: 'float32 to int32', shapes: [[2, 6]], attrs: { to: 'int32' } },
  ],
};

/** Converts the element type; float32 to integers rounds towards zero. No gradient. */
export const cast = (x: Tensor, to: DType): Tensor => run(castOp, [x], { to });
