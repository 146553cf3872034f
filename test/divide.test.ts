/** Division in shaders (shaders/common/divide.wgsl): exact, whatever the adapter rounds. */
import t from 'tap';
import { Shader } from '../src/kernels/shader.js';
import { CaseRandom } from '../src/ops/cases.js';
import { tensor } from '../src/tensor/create.js';
import { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();

const WORKGROUPS = 4096;
const MOST = 2 ** 31 - 1;

const shader = new Shader('quotients', `//# include divide
struct Params { unused: u32 }
@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read> b: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@group(0) @binding(31) var<uniform> P: Params;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3u) { y[at.x] = quotient(a[at.x], b[at.x]); }`);

const random = new CaseRandom(11);
const below = (limit: number): number => Math.floor(random.next() * limit);
/** Of every order of magnitude alike. */
const divisor = (): number => 1 + below(2 ** below(31));

const multiple = (apart: number): [number, number] => {
  const b = divisor();
  return [b * (1 + below(Math.floor(MOST / b))) + apart, b];
};

/** Where a quotient is found by rounding, neighbours of multiples, the largest numbers and quotients, and neighbours of powers of two are what may fail. */
const PAIRS: readonly (() => [number, number])[] = [
  () => [below(MOST), divisor()],
  () => multiple(0),
  () => multiple(-1),
  () => [MOST - below(4), divisor()],
  () => [MOST - below(4096), 1 + below(4)],
  () => [MOST - below(4096), Math.max(1, 2 ** below(31) + below(3) - 1)],
  () => [below(2 ** 24), 1 + below(2 ** 12)],
];

t.test('quotients are exact below 2^31', async (t) => {
  const pairs = Array.from({ length: 64 * WORKGROUPS }, (_, i) => PAIRS[i % PAIRS.length]!());
  const column = (at: 0 | 1): Tensor => tensor(Int32Array.from(pairs, (pair) => pair[at]), [pairs.length], { dtype: 'int32', runtime });
  const y = Tensor.allocate(runtime, [pairs.length], 'int32');
  runtime.recorder.dispatch(shader.kernel('main'), { a: column(0).range, b: column(1).range, y: y.range }, { unused: 0 }, [WORKGROUPS, 1, 1]);
  const found = await y.data();
  const wrong = pairs.flatMap(([a, b], i) => (found[i] === Math.floor(a / b) ? [] : [`${a} / ${b} = ${found[i]}`]));
  t.same(wrong.slice(0, 10), []);
});
