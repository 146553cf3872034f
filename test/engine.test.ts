/** Shaders, parameters, the recorder and planning: what lies below tensors. */
import t from 'tap';
import { readdirSync, readFileSync } from 'node:fs';
import type { PooledBuffer } from '../src/device/buffers.js';
import type { Device } from '../src/device/device.js';
import { openDevice } from '../src/device/node.js';
import { gridParts, linearGrid, MAX_GROUPS } from '../src/kernels/grid.js';
import { checkParams, packParams, PARAMS_BINDING, paramViews, parseParams } from '../src/kernels/params.js';
import { originsOf, preprocess, resolveIncludes } from '../src/kernels/preprocess.js';
import { Runtime } from '../src/kernels/runtime.js';
import { Shader } from '../src/kernels/shader.js';
import { add, affine, conv2d, relu } from '../src/ops/index.js';
import { tensor } from '../src/tensor/create.js';
import { keep, scope } from '../src/tensor/scope.js';
import { Tensor } from '../src/tensor/tensor.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const { recorder } = runtime;
const { pool } = runtime.device;
const lines = (text: string): string[] => text.split('\n').map((line) => line.trim());

t.test('preprocess: loops, nesting, constants', async (t) => {
  const source = 'a\n//# for i in 0..$N\nx$i = $N;\n//# for j in 1..$i\n  y$i_ $i,$j\n//# end\n//# end\nb';
  t.same(lines(preprocess('t', source, { N: 3 })), ['a', 'x0 = 3;', 'x1 = 3;', 'x2 = 3;', 'y$i_ 2,1', 'b'], 'an inner bound may be an outer variable');
  t.same(lines(preprocess('t', '//# for i in 2..2\nnever\n//# end', {})), [''], 'an empty range gives nothing');
  t.equal(preprocess('t', 'let a = $UNKNOWN;', {}), 'let a = $UNKNOWN;', 'what is no constant stays');
});

t.test('preprocess: errors name file and line', async (t) => {
  t.throws(() => preprocess('f.wgsl', 'a\n//# for i in 0..2\nb', {}), /f\.wgsl:2: .*without "\/\/# end"/);
  t.throws(() => preprocess('f.wgsl', '//# for i in 0..$N\n//# end', {}), /f\.wgsl:1: loop bounds must be integers/);
  t.throws(() => resolveIncludes('f.wgsl', '//# include nowhere'), /f\.wgsl: unknown include "nowhere"; known: .*float/);
  t.match(resolveIncludes('f.wgsl', '//# include grid'), /fn /);
});

t.test('each line that is compiled is traced to its file', async (t) => {
  const source = 'a\n//# for i in 0..$N\nx$i\n//# end\n//# include w\nb';
  const [parts, values] = [{ w: 'tail' }, { N: 2 }];
  const text = lines(preprocess('f.wgsl', resolveIncludes('f.wgsl', source, parts), values));
  const origins = originsOf('f.wgsl', source, parts, values);
  t.equal(origins.length, text.length);
  const at = (line: string): string | undefined => origins[text.indexOf(line)];
  t.same(['a', 'x0', 'x1', 'b'].map(at), ['f.wgsl:1', 'f.wgsl:3', 'f.wgsl:3', 'f.wgsl:6']);
  const tail = lines(readFileSync('shaders/common/tail.wgsl', 'utf8'));
  t.ok(tail.every((line, i) => line === '' || line === '}' || at(line) === `common/tail.wgsl:${i + 1}`), 'an included line to the file that holds it');
});

t.test('params: WGSL layout, packing, errors', async (t) => {
  const fields = parseParams('struct Params { a: u32, b: i32, // c: f32\n v: vec4f, d: f32, w: vec4u, }');
  t.same(fields.map((f) => [f.name, f.offset]), [['a', 0], ['b', 4], ['v', 16], ['d', 32], ['w', 48]], 'a vec4 begins at a multiple of 16');
  const out = paramViews();
  packParams('k', fields, { a: 7, b: -2, v: [1, 2.5], d: -0.5, w: [4294967295, 1, 2, 3] }, out);
  t.same([out.u32[0], out.i32[1], out.f32[4], out.f32[5], out.f32[6], out.f32[8], out.u32[12]],
    [7, -2, 1, 2.5, 0, -0.5, 4294967295]);
  t.throws(() => packParams('k', fields, { a: 1, b: 1, v: [0], w: [0] }, out), /k: parameter d is missing/);
  t.throws(() => checkParams('k', fields, { a: 1, b: 1, v: [0], d: 1, w: [0], z: 1 }), /k: unknown parameter z/);
  t.doesNotThrow(() => checkParams('k', fields, { a: 1, b: 1, v: [0], d: 1, w: [0] }));
  t.throws(() => parseParams('struct Params { m: mat4x4f }'), /member m has type mat4x4f; use u32, i32, f32 or a vec4/);
  t.throws(() => parseParams(`struct Params { ${Array.from({ length: 17 }, (_, i) => `m${i}: vec4f`).join(', ')} }`), /272 bytes; at most 256 fit/);
  t.same(parseParams('fn main() {}'), []);
});

t.test('the kernels of a shader are told apart by entry point and constants', async (t) => {
  const shader = new Shader('s', 'override A: u32;\nlet b = $B;');
  const given = [['f', { A: 1, B: 2 }], ['f', { A: 1 }], ['f', { A: 2 }], ['f', { B: 1 }], ['f', {}], ['g', { A: 1 }]] as const;
  const kernels = given.map(([entry, constants]) => shader.kernel(entry, constants));
  t.equal(new Set(kernels).size, given.length);
  given.forEach(([entry, constants], i) => t.equal(shader.kernel(entry, { ...constants }), kernels[i]));
  t.throws(() => shader.kernel('f', { A: 1, C: 2 }), /s\.f: the shader has no constant "C", neither as override nor as \$C; its overrides are A/,
    'a mistyped one would leave the default');
  t.throws(() => new Shader('s', 'let b = $BC;').kernel('f', { B: 2 }), /no constant "B"/, 'nor is it the beginning of another');
});

t.test('linearGrid covers its workgroups within the limit, with little surplus', async (t) => {
  for (const groups of [0, 1, MAX_GROUPS, MAX_GROUPS + 1, 1_000_003, MAX_GROUPS ** 2, MAX_GROUPS ** 2 + 1, 3 * MAX_GROUPS ** 2]) {
    const grid = linearGrid(groups);
    const total = grid[0] * grid[1] * grid[2];
    t.ok(grid.every((n) => n >= 1 && n <= MAX_GROUPS) && total >= groups && total <= groups * 1.01 + 1, `${groups} → ${grid.join('×')}`);
  }
});

const scaleShader = new Shader('scale', `
struct Params { quads: u32, factor: f32, at: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;
@compute @workgroup_size(64) fn scale(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < P.quads) { y[P.at + id.x] = x[id.x] * P.factor; }
}`);
const scale = (x: Tensor, y: Tensor, factor: number, at = 0): void =>
  recorder.dispatch(scaleShader.kernel('scale'), { x: x.range, y: y.range }, { quads: 1, factor, at }, [1, 1, 1]);

t.test('recorder: many dispatches, few submits', (t) => scope(async () => {
  const [x, y] = [tensor([1, 2, 3, 4]), tensor([0, 0, 0, 0])];
  recorder.flush();
  const before = { ...recorder.statistics };
  const most = 4 * recorder.dispatchesPerSubmit;
  for (let i = 0; i < most - 1; i++) scale(i % 2 ? y : x, i % 2 ? x : y, 1);
  t.equal(recorder.statistics.submits - before.submits, 3, 'bounded pieces');
  scale(y, x, 1);
  t.equal(recorder.statistics.dispatches - before.dispatches, most);
  t.equal(recorder.statistics.submits - before.submits, 4);
  t.same(await y.data(), [1, 2, 3, 4]);
  t.equal(recorder.statistics.submits - before.submits, 4);

  scale(x, y, 1);
  recorder.weigh(4e10);
  t.equal(recorder.statistics.submits - before.submits, 4);
  recorder.weigh(4e10);
  t.equal(recorder.statistics.submits - before.submits, 5, 'much arithmetic ends a submit early');
  scale(x, y, 1);
  recorder.weigh(4e10);
  t.equal(recorder.statistics.submits - before.submits, 5, 'and the next one begins anew');
  t.equal(recorder.statistics.readBacks - before.readBacks, 1);
}));

t.test('recorder: dispatches run in order and see each other’s results', (t) => scope(async () => {
  const [x, y] = [tensor([1, 2, 3, 4]), tensor([0, 0, 0, 0])];
  for (let i = 0; i < 10; i++) {
    scale(x, y, 2);
    scale(y, x, 1);
  }
  t.same(await x.data(), [1024, 2048, 3072, 4096]);
}));

t.test('recorder: no new bind groups, buffers or pipelines in the steady state', (t) => scope(async () => {
  const [x, w] = [tensor(new Float32Array(2 * 6 * 6 * 4).fill(0.5), [2, 6, 6, 4]), tensor(new Float32Array(3 * 3 * 4 * 8).fill(0.1), [3, 3, 4, 8])];
  const step = (): void => scope(() => { relu(add(conv2d(x, w, null, { padding: 1 }), 1)); });
  step();
  step();
  const before = [recorder.statistics.bindGroups, pool.statistics().created, recorder.pipelines.count];
  for (let i = 0; i < 20; i++) step();
  t.same([recorder.statistics.bindGroups, pool.statistics().created, recorder.pipelines.count], before);
}));

t.test('recorder: an upload into a reused buffer does not disturb work recorded before', (t) => scope(async () => {
  const rest = new Array<number>(20_000).fill(0);
  const first = tensor([1, 2, 3, 4, ...rest]);
  const { id } = first.range.buffer;
  const doubled = affine(first, 2);
  first.release();
  const second = tensor([10, 20, 30, 40, ...rest]);
  t.equal(second.range.buffer.id, id, 'the freed buffer was reused while its reader was not yet submitted');
  const tripled = affine(second, 3);
  t.same((await doubled.data()).subarray(0, 5), [2, 4, 6, 8, 0]);
  t.same((await tripled.data()).subarray(0, 5), [30, 60, 90, 120, 0]);
}));

t.test('recorder: the parameter arena wraps around beyond 4096 different parameters', (t) => scope(async () => {
  const count = 9000;
  const x = tensor([1, -1, 2, 0.5]);
  const y = tensor(new Float32Array(count * 4), [count, 4]);
  for (let i = 0; i < count; i++) scale(x, y, i + 1, i);
  const data = await y.data();
  let wrong = 0;
  for (let i = 0; i < count; i++) if (data[4 * i] !== i + 1 || data[4 * i + 1] !== -(i + 1) || data[4 * i + 3] !== (i + 1) / 2) wrong++;
  t.equal(wrong, 0, `${wrong} of ${count} rows were computed with another dispatch's parameters`);
}));

t.test('recorder: misuse names the kernel and what is wrong', (t) => scope(async () => {
  const x = tensor([1, 2, 3, 4]);
  const other = new Shader('misused', scaleShader.specialise(scaleShader.kernel('scale')).code);
  const params = { quads: 1, factor: 1, at: 0 };
  t.throws(() => recorder.dispatch(other.kernel('scale'), { x: x.range, z: x.range }, params, [1, 1, 1]),
    /misused\.scale: the shader has no binding "z"; it has x, y/);
  t.throws(() => recorder.dispatch(scaleShader.kernel('scale'), { x: x.range, y: x.range }, { quads: 1 }, [1, 1, 1]),
    /scale\.scale: parameter factor is missing/);
}));

t.test('planMemory: a dry run touches nothing and predicts the peak exactly', (t) => scope(async () => {
  const x = tensor(new Float32Array(4 * 8 * 8 * 4).fill(1), [4, 8, 8, 4]);
  const w = tensor(new Float32Array(7 * 7 * 4 * 12).fill(0.1), [7, 7, 4, 12]);
  const accumulator = keep(tensor([1, 2, 3, 4]));
  const work = (): void => scope(() => {
    const y = relu(conv2d(x, w, null, { padding: 3 }));
    scope(() => add(add(y, y), y));
    scale(tensor([5, 5, 5, 5]), accumulator, 1);
    recorder.copy(accumulator.range, tensor([6, 6, 6, 6]).range);
  });
  recorder.flush();
  const before = { statistics: { ...recorder.statistics }, pool: pool.statistics() };
  const plan = runtime.planMemory(work);
  t.same({ statistics: recorder.statistics, pool: pool.statistics() }, before, 'no dispatch, no submit, no buffer');
  t.same(await accumulator.data(), [1, 2, 3, 4]);

  const base = pool.statistics().liveBytes;
  let peak = 0;
  const acquire = pool.acquire.bind(pool);
  pool.acquire = (bytes, label) => {
    const buffer = acquire(bytes, label);
    peak = Math.max(peak, pool.statistics().liveBytes - base);
    return buffer;
  };
  work();
  pool.acquire = acquire;
  t.equal(plan.peakBytes, peak, 'the same work in earnest');
  t.equal(plan.largestBytes, 4 * 8 * 8 * 196 * 4, 'the taps of the convolution, 49 by 4 channels, laid out as rows');
  t.match(plan.largestLabel, /conv2d patches/);
  t.same(await accumulator.data(), [5, 5, 5, 5]);
  accumulator.release();
}));

t.test('planMemory: no size is too large for a plan, which tells it', (t) => scope(async () => {
  const { largestBytes, largestLabel } = runtime.planMemory(() => scope(() => {
    for (const rows of [5, 2 ** 36, 7]) Tensor.allocate(runtime, [rows, 4], 'float32', 'giant');
  }));
  t.same([largestBytes, largestLabel], [2 ** 40, `giant [${2 ** 36}, 4]`]);
}));

t.test('planMemory: an error inside leaves the runtime usable', (t) => scope(async () => {
  t.throws(() => runtime.planMemory(() => scope(() => { Tensor.allocate(runtime, [16], 'float32', 'inside'); throw new Error('midway'); })), /midway/);
  t.same(await affine(tensor([1, 2]), 2).data(), [2, 4]);
}));

t.test('a shader that does not compile gives an error with kernel, line of its file and text', async (t) => {
  const broken = new Runtime(await openDevice());
  const shader = new Shader('broken', `struct Params { quads: u32 }
//# include tail
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;
@compute @workgroup_size(1) fn main() {
  y[P.quads] = undefinedName;
}`);
  const y = Tensor.allocate(broken, [4]);
  await t.rejects(async () => {
    broken.recorder.dispatch(shader.kernel('main'), { y: y.range }, { quads: 0 }, [1, 1, 1]);
    await broken.idle();
  }, /broken\.main does not compile:\n\s+broken\.wgsl:6:\d+ .*undefinedName[^]*y\[P\.quads\] = undefinedName/);
  broken.device.close();
});

t.test('a binding that a kernel reads and a call does not pass is named', async (t) => {
  const broken = new Runtime(await openDevice());
  const shader = new Shader('two',
    '@group(0) @binding(0) var<storage, read> x: array<vec4f>;\n@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;\n@compute @workgroup_size(1) fn main() { y[0] = x[0]; }');
  const y = Tensor.allocate(broken, [4]);
  await t.rejects(async () => {
    broken.recorder.dispatch(shader.kernel('main'), { y: y.range }, {}, [1, 1, 1]);
    await broken.idle();
  }, /two\.main was rejected by the adapter: [^]*@binding\(0\) \("x"\)/);
  broken.device.close();
});

t.test('endStep keeps the host at most one step ahead', (t) => scope(async () => {
  const x = tensor([1, 2, 3, 4]);
  const y = tensor([0, 0, 0, 0]);
  const before = recorder.statistics.submits;
  for (let step = 0; step < 5; step++) {
    scale(x, y, step);
    await runtime.endStep();
  }
  t.equal(recorder.statistics.submits - before, 5, 'each step is submitted at its end');
  t.same(await y.data(), [4, 8, 12, 16]);
}));

/** A runtime whose device does nothing but note what is asked of it. */
const notedRuntime = (notes: string[], fence: () => Promise<void> = () => Promise.resolve()): Runtime => {
  const encoder = { copyBufferToBuffer: () => {}, finish: () => { notes.push('finish'); } };
  const gpu = {
    createBindGroupLayout: () => ({}), createBuffer: () => ({}), createCommandEncoder: () => encoder,
    queue: { submit: () => { notes.push('submit'); }, onSubmittedWorkDone: fence },
  };
  const pool = { destroyDoomed: () => { notes.push('destroy'); } };
  return new Runtime({ gpu, pool, report: runtime.device.report, onBufferDestroyed: () => {}, check: () => { notes.push('check'); },
    wait: (work: Promise<void>) => work } as unknown as Device);
};

t.test('recorder: after a submit, and only then, what exceeds the cap is destroyed, and errors are looked for', async (t) => {
  const notes: string[] = [];
  const { recorder } = notedRuntime(notes);
  const range = { buffer: { id: 1 } as PooledBuffer, offset: 0, bytes: 16 };
  recorder.copy(range, range);
  t.same(notes, []);
  recorder.flush();
  t.same(notes, ['finish', 'submit', 'destroy', 'check']);
});

t.test('endStep waits for the step before, and not for its own', async (t) => {
  const ends: (() => void)[] = [];
  const steps = notedRuntime([], () => new Promise((resolve) => { ends.push(resolve); }));
  await steps.endStep();
  let ended = false;
  const second = steps.endStep().then(() => { ended = true; });
  await new Promise(setImmediate);
  t.equal(ended, false);
  ends[0]!();
  await second;
  t.equal(ends.length, 2);
});

t.test('a grid that is cut into parts is covered once, and no part passes the limit of every adapter', async (t) => {
  t.ok(MAX_GROUPS <= runtime.device.gpu.limits.maxComputeWorkgroupsPerDimension && MAX_GROUPS <= 65535);
  t.same(gridParts(3, 4), [[{ first: 0, count: 3 }, { first: 0, count: 4 }]]);
  const parts = gridParts(2 * MAX_GROUPS + 1, 1, MAX_GROUPS + 5);
  t.same(parts.map(([a]) => [a.first, a.count]), [0, 1, 2].flatMap((i) => [0, 1].map(() => [i * MAX_GROUPS, i === 2 ? 1 : MAX_GROUPS])));
  t.same(parts.map(([, , c]) => [c.first, c.count]), [0, 1, 2].flatMap(() => [[0, MAX_GROUPS], [MAX_GROUPS, 5]]));
});

const openings = (source: string): { name: string; body: string; entry: boolean }[] => {
  const found: { name: string; body: string; entry: boolean }[] = [];
  for (const match of source.matchAll(/(@compute[^{;]*?)?fn (\w+)\s*\(/g)) {
    let [depth, at] = [0, source.indexOf('{', match.index)];
    const from = at;
    do {
      if (source[at] === '{') depth++;
      if (source[at] === '}') depth--;
      at++;
    } while (depth > 0 && at < source.length);
    found.push({ name: match[2]!, body: source.slice(from, at), entry: match[1] !== undefined });
  }
  return found;
};

/** Storage bindings an entry point uses, itself and through the functions it calls. */
const usedBindings = (name: string, functions: Map<string, string>, bindings: Iterable<string>): string[] => {
  const reached = new Set<string>();
  const visit = (fn: string): void => {
    if (reached.has(fn)) return;
    reached.add(fn);
    for (const [word] of functions.get(fn)!.matchAll(/\w+/g)) if (functions.has(word)) visit(word);
  };
  visit(name);
  const text = [...reached].map((fn) => functions.get(fn)).join(' ');
  return [...bindings].filter((binding) => new RegExp(`\\b${binding}\\b`).test(text));
};

/** What the includes that a shader leaves to the host stand for, in each way the host fills them in. */
const PARTS = [
  { x: 'x-buffer', w: 'w-buffer', down: 'winograd-square', arithmetic: 'tile-vectors' },
  { x: 'x-image', w: 'w-image', down: 'winograd-line', arithmetic: 'tile-vectors' },
  { x: 'x-half', w: 'w-half', down: 'winograd-line', arithmetic: 'tile-matrices' },
];

t.test('rules that all shaders keep', async (t) => {
  const long = readdirSync('shaders', { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.wgsl') && readFileSync(`shaders/${name}`, 'utf8').trimEnd().split('\n').length > 400);
  t.same(long, [], 'files are short, as those of the linter');
  const files = readdirSync('shaders').filter((name) => name.endsWith('.wgsl'));
  for (const [file, parts] of files.flatMap((name) => PARTS.map((parts) => [name, parts] as const))) {
    const source = resolveIncludes(file, readFileSync(`shaders/${file}`, 'utf8'), parts).replace(/\/\/(?!#)[^\n]*/g, '');
    const shader = new Shader(file, source);
    const functions = openings(source);
    const bodies = new Map(functions.map(({ name, body }) => [name, body]));
    const entries = functions.filter(({ entry }) => entry);
    t.ok(entries.length > 0, `${file} has entry points`);
    const declared = source.match(/@group\(\d+\) @binding\(\d+\) var(<uniform> \w+)?/g) ?? [];
    t.equal(shader.bindings.size, declared.filter((one) => !one.includes('uniform')).length, `${file}: every binding is understood`);
    t.same(declared.filter((one) => one.includes('uniform')), [`@group(0) @binding(${PARAMS_BINDING}) var<uniform> P`], `${file}: where parameters are looked for`);
    for (const { name } of entries) {
      const used = usedBindings(name, bodies, shader.bindings.keys());
      t.ok(used.length >= 1 && used.length <= 8, `${file}: ${name} uses ${used.length} storage buffers; 8 are sure to exist`);
    }
    // Counting with whole numbers gives the same sum in any order; the only way to add floats is a compare-exchange loop.
    t.notMatch(source, /atomicCompareExchange|atomicExchange/, `${file}: no float atomics, so that the order of additions is fixed`);
  }
});

t.teardown(() => runtime.device.close());
