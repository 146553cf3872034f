/** float16 on the host, and the rewriting of kernels for buffers that hold it. */
import t from 'tap';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { withHalfBindings } from '../src/kernels/half.js';
import { resolveIncludes } from '../src/kernels/preprocess.js';
import { CaseRandom } from '../src/ops/cases.js';
import { fromHalf, fromHalfBits, roundToHalf, toHalf, toHalfBits } from '../src/float16.js';

/** By the definition: the multiple of the last place's value that is nearest, the even one of two. All steps are exact in float64. */
const nearest = (value: number): number => {
  if (Math.abs(value) >= 65520) return Math.sign(value) * Infinity;
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(value))));
  const unit = 2 ** (exponent - 10);
  const [low, rest] = [Math.floor(value / unit), value / unit - Math.floor(value / unit)];
  const up = rest > 0.5 || (rest === 0.5 && Math.abs(low % 2) === 1);
  return (low + (up ? 1 : 0)) * unit;
};

t.test('all 65536 patterns come back', async (t) => {
  let wrong = 0;
  for (let bits = 0; bits < 65536; bits++) {
    const isNan = (bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0;
    const value = fromHalfBits(bits);
    if (isNan ? !Number.isNaN(value) : toHalfBits(value) !== bits) wrong++;
  }
  t.equal(wrong, 0);
  t.same([0x0000, 0x0001, 0x0400, 0x3c00, 0x3c01, 0x7bff].map(fromHalfBits), [0, 2 ** -24, 2 ** -14, 1, 1 + 2 ** -10, 65504]);
  t.same([0x7c00, 0xfc00, 0xc000].map(fromHalfBits), [Infinity, -Infinity, -2]);
  t.ok(Object.is(fromHalfBits(0x8000), -0));
});

t.test('numbers go to the nearest half, ties to even', async (t) => {
  const cases: [number, number][] = [
    [1 + 2 ** -11, 1], [1 + 3 * 2 ** -11, 1 + 2 ** -9], [1 + 2 ** -11 + 2 ** -20, 1 + 2 ** -10], [2049, 2048], [2051, 2052], [-2049, -2048],
    [65504, 65504], [65519.996, 65504], [65520, Infinity], [-65520, -Infinity], [1e10, Infinity], [Infinity, Infinity],
    [2 ** -25, 0], [2 ** -25 * 1.0001, 2 ** -24], [3 * 2 ** -25, 2 ** -23], [-(2 ** -24), -(2 ** -24)], [2 ** -14 - 2 ** -25, 2 ** -14], [1e-30, 0],
  ];
  for (const [value, expected] of cases) t.equal(roundToHalf(value), expected, String(value));
  t.ok(Number.isNaN(roundToHalf(NaN)));
  t.ok(Object.is(roundToHalf(-1e-30), -0), 'the sign of zero stays');
  const random = new CaseRandom(9);
  const numbers = Array.from({ length: 20_000 }, () => Math.fround(random.uniform(-1, 1) * 2 ** Math.floor(random.uniform(-27, 17))));
  const wrong = numbers.filter((v) => roundToHalf(v) !== nearest(v));
  t.same(wrong.slice(0, 3), []);
});

t.test('arrays go there and back, and what is too large becomes infinite', async (t) => {
  t.same([...toHalf([1, -2, 1e6])], [0x3c00, 0xc000, 0x7c00]);
  t.same([...fromHalf(Uint16Array.of(0x3c00, 0xc000, 0x7c00))], [1, -2, Infinity]);
});

const HEAD = `
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> bits: array<vec4u>;
@group(0) @binding(3) var<storage, read> ids: array<vec4i>;
`;
const body = (...lines: string[]): string => `${HEAD}fn f(i: u32) {\n${lines.join('\n')}\n}`;
/** The lines of the function in which these bindings hold halves. */
const rewritten = (bindings: string[], ...lines: string[]): string[] => {
  const text = withHalfBindings('s.wgsl', body(...lines), bindings).split('\n');
  return text.slice(HEAD.split('\n').length, -1);
};

t.test('kernels are rewritten where they meet the buffers', async (t) => {
  const text = withHalfBindings('s.wgsl', body('let v = x[i];'), ['x', 'y', 'bits']);
  t.match(text, /^enable f16; /);
  t.match(text, 'var<storage, read> x: array<vec4<f16>>;');
  t.match(text, 'var<storage, read_write> y: array<f16>;');
  t.match(text, 'var<storage, read> bits: array<vec4<f16>>;');
  t.match(withHalfBindings('s.wgsl', body('let v = x[i];'), ['x']), 'y: array<f32>;', 'other bindings stay');
  t.same(rewritten(['x'], 'let v = x[i + 1u].x + xs[i] + P.x[i];'), ['let v = vec4f(x[i + 1u]).x + xs[i] + P.x[i];']);
  t.same(rewritten(['y'], 'y[i] = y[i] + 1.0;'), ['y[i] = f16(f32(y[i]) + 1.0);']);
  t.same(rewritten(['x', 'y'], 'y[u32(x[i].x)] =', '  x[i][0];'), ['y[u32(vec4f(x[i]).x)] = f16(vec4f(x[i])[0]);'], 'over lines and inside indices');
  t.same(rewritten(['bits'], 'let b = bits[i] == vec4u(0u);'), ['let b = bitcast<vec4u>(vec4f(bits[i])) == vec4u(0u);'],
    'bits are those of the float32 number');
  t.same(rewritten(['x'], 'let a = 1; // x[i] = old', 'let b = x[i];'), ['let a = 1; ', 'let b = vec4f(x[i]);'], 'comments go');
});

t.test('what the rewriting cannot do is refused', async (t) => {
  const refused = (binding: string, line: string, message: RegExp): void => {
    t.throws(() => withHalfBindings('s.wgsl', body(line), [binding]), message, line);
  };
  refused('y', 'y[i] += 1.0;', /s\.wgsl: binding "y" cannot hold float16: an element is changed in place: "y\[i\] \+= 1\.0/);
  refused('y', 'y[i]++;', /changed in place/);
  refused('x', 'x[i].x = 1.0;', /a part of an element is written: "x\[i\]\.x = 1/);
  refused('x', 'x[i][2] = 1.0;', /a part of an element is written/);
  refused('x', 'let p = &x;', /its address is taken/);
  refused('ids', 'let a = ids[i];', /its elements are vec4i/);
  refused('nothing', '', /it is no array in a buffer/);
});

/** Shaders of the ops that take float16; the others see it only after a cast. */
const TAKE_HALF = [
  'antialias', 'batch-norm', 'binary', 'cast', 'conv-patches', 'conv2d', 'fill', 'finite', 'gemm-broadcast', 'gemm-held', 'gemm-pack', 'gemm-plain', 'gemm-tile',
  'interpolate', 'join', 'layout', 'pool2d', 'pool2d-window',
  'random', 'reduce', 'reshape', 'unary', 'winograd',
];
const CHOICES = { x: 'x-buffer', w: 'w-buffer', down: 'winograd-square', arithmetic: 'tile-vectors' };

t.test('every kernel that may meet float16 can be rewritten', async (t) => {
  for (const name of TAKE_HALF) {
    const text = resolveIncludes(name, readFileSync(join('shaders', `${name}.wgsl`), 'utf8'), CHOICES);
    const bindings = [...text.matchAll(/var<storage, read(?:_write)?> (\w+): array<(?:vec4f|vec4u|f32|u32|Value)>/g)].map((m) => m[1]!);
    t.ok(bindings.length >= 1);
    for (const binding of bindings) t.doesNotThrow(() => withHalfBindings(name, text, [binding]), `${name}: ${binding}`);
  }
});
