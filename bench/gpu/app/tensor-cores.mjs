// What the adapter's matrix units reach through Dawn's experimental subgroup matrices: products of float16 matrices summed in
// float32. An experiment beside Pipit, whose kernels do not use the extension while browsers lack it.
//   node tensor-cores.mjs RESULT.json
import { writeFileSync } from 'node:fs';
import { create, globals } from 'webgpu';

const FEATURE = 'chromium-experimental-subgroup-matrix';
const SIDE = 4096;
const ROUNDS = 5;
const REPEATS = 10;
const SUBGROUP = 32;

const times = (count, text) => Array.from({ length: count }, (_, i) => text(i)).join('\n');

const HEAD = `diagnostic(off, chromium.subgroup_matrix_uniformity);
enable chromium_experimental_subgroup_matrix, subgroups, f16;
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;`;

/** Sums of 64 × 64 per subgroup, as 4 × 4 matrices, and what becomes of them. */
const multiply = (a, aStride, b, bStride) => `
${times(4, (i) => `let a${i} = subgroupMatrixLoad<Left, row_major>(&${a(i)}, ${aStride}u);`)}
${times(4, (j) => `let b${j} = subgroupMatrixLoad<Right, row_major>(&${b(j)}, ${bStride}u);`)}
${times(16, (k) => `c${k} = subgroupMatrixMultiplyAccumulate(a${k >> 2}, b${k & 3}, c${k});`)}`;
const store = times(16, (k) => `subgroupMatrixStore<row_major>(&y, (row0 + ${(k >> 2) * 16}u) * ${SIDE}u + column0 + ${(k & 3) * 16}u, c${k}, ${SIDE}u);`);
const place = `let row0 = group.y * 128u + lane / ${2 * SUBGROUP}u * 64u;
let column0 = group.x * 128u + lane / ${SUBGROUP}u % 2u * 64u;
${times(16, (k) => `var c${k}: Sum;`)}`;
const entry = '@compute @workgroup_size(128) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32)';

/** Matrices straight from memory. */
const direct = `${HEAD}
@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read> w: array<f16>;
${entry} {
${place}
for (var k = 0u; k < ${SIDE}u; k += 16u) {
${multiply((i) => `x, (row0 + ${i * 16}u) * ${SIDE}u + k`, SIDE, (j) => `w, k * ${SIDE}u + column0 + ${j * 16}u`, SIDE)}
}
${store}
}`;

/** Through workgroup memory, 128 × 128 results and `depth` products at a time; rows are padded against bank conflicts. */
const staged = (depth) => {
  const [left, right] = [depth + 8, 128 + 8];
  const loads = (128 * depth) / 8 / 128;
  return `${HEAD}
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read> w: array<vec4u>;
var<workgroup> tileX: array<f16, ${128 * left}>;
var<workgroup> tileW: array<f16, ${depth * right}>;
${['X', 'W'].map((t) => `fn keep${t}(at: u32, v: vec4u) { for (var i = 0u; i < 4u; i++) { let h = bitcast<vec2<f16>>(v[i]); tile${t}[at + 2u * i] = h.x; tile${t}[at + 2u * i + 1u] = h.y; } }`).join('\n')}
${entry} {
${place}
let rows = lane / ${2 * SUBGROUP}u * 64u;
let columns = lane / ${SUBGROUP}u % 2u * 64u;
${times(loads, (i) => `var a${i}x: vec4u; var b${i}x: vec4u;`)}
for (var k = 0u; k <= ${SIDE}u; k += ${depth}u) {
  if (k < ${SIDE}u) {
    ${times(loads, (i) => `{ let at = lane + ${i * 128}u; a${i}x = x[((group.y * 128u + at / ${depth / 8}u) * ${SIDE}u + k) / 8u + at % ${depth / 8}u]; b${i}x = w[((k + at / 16u) * ${SIDE}u + group.x * 128u) / 8u + at % 16u]; }`)}
  }
  if (k > 0u) {
    for (var q = 0u; q < ${depth}u; q += 16u) {
${multiply((i) => `tileX, (rows + ${i * 16}u) * ${left}u + q`, left, (j) => `tileW, q * ${right}u + columns + ${j * 16}u`, right)}
    }
  }
  workgroupBarrier();
  if (k < ${SIDE}u) {
    ${times(loads, (i) => `{ let at = lane + ${i * 128}u; keepX(at / ${depth / 8}u * ${left}u + at % ${depth / 8}u * 8u, a${i}x); keepW(at / 16u * ${right}u + at % 16u * 8u, b${i}x); }`)}
  }
  workgroupBarrier();
}
${store}
}`;
};

const KERNELS = { 'straight from memory': direct, 'through workgroup memory, 32 deep': staged(32), 'through workgroup memory, 64 deep': staged(64) };

/** Multiples of 1/128 between −1 and 1: exact in float16. */
const value = (seed, i) => (Math.imul(i * 7 + seed, 2654435761) >>> 24) / 128 - 1;
const SEEDS = { x: 1, w: 99_991 };
const table = Array.from({ length: 256 }, (_, i) => halfBits(i / 128 - 1));

/** Bits of a float16 that holds the number exactly. */
function halfBits(number) {
  const bits = new Uint32Array(new Float32Array([number]).buffer)[0];
  return number === 0 ? 0 : ((bits >>> 16) & 0x8000) | ((((bits >>> 23) & 255) - 112) << 10) | ((bits >>> 13) & 0x3ff);
}

const matrix = (device, seed) => {
  const data = Uint16Array.from({ length: SIDE * SIDE }, (_, i) => table[(value(seed, i) + 1) * 128]);
  const buffer = device.createBuffer({ size: data.byteLength, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
  device.queue.writeBuffer(buffer, 0, data);
  return buffer;
};

const expected = (row, column) => {
  let sum = 0;
  for (let k = 0; k < SIDE; k++) sum += value(SEEDS.x, row * SIDE + k) * value(SEEDS.w, k * SIDE + column);
  return sum;
};

/** Largest error of some elements of the first rows; products of such numbers are exact, only sums are rounded. */
const worstError = async (device, y) => {
  const staging = device.createBuffer({ size: SIDE * 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(y, 0, staging, 0, SIDE * 16);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const actual = new Float32Array(staging.getMappedRange());
  return Math.max(...[[0, 0], [1, 5], [2, 777], [3, 4095], [3, 2049]].map(([row, column]) => Math.abs(actual[row * SIDE + column] - expected(row, column))));
};

const measure = async (device, buffers, code) => {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
  const error = await device.popErrorScope();
  if (error) return { problem: error.message.split('\n').filter((line) => line.includes('error')).join(' ') || error.message };
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })) });
  const run = async (repeats) => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    for (let i = 0; i < repeats; i++) pass.dispatchWorkgroups(SIDE / 128, SIDE / 128);
    pass.end();
    device.queue.submit([encoder.finish()]);
    const start = performance.now();
    await device.queue.onSubmittedWorkDone();
    return (performance.now() - start) / repeats;
  };
  await run(1);
  const rounds = [];
  for (let round = 0; round < ROUNDS; round++) rounds.push(await run(REPEATS));
  const ms = rounds.sort((a, b) => a - b)[ROUNDS >> 1];
  return { gflops: (2 * SIDE ** 3) / ms / 1e6, error: await worstError(device, buffers[2]) };
};

const main = async () => {
  const gpu = create(['enable-dawn-features=allow_unsafe_apis,disable_robustness,vulkan_enable_f16_on_nvidia']);
  Object.assign(globalThis, globals, { keptAlive: gpu });
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  const configurations = [...(adapter?.info.subgroupMatrixConfigs ?? [])].map(({ componentType, resultComponentType, M, N, K }) => `${componentType} to ${resultComponentType} ${M}×${N}×${K}`);
  if (!configurations.includes('f16 to f32 16×16×16')) return { skipped: 'the adapter has no matrices of 16×16×16 from float16 to float32', configurations };
  const { maxStorageBufferBindingSize, maxBufferSize, maxComputeWorkgroupStorageSize } = adapter.limits;
  const device = await adapter.requestDevice({ requiredFeatures: [FEATURE, 'shader-f16', 'subgroups'], requiredLimits: { maxStorageBufferBindingSize, maxBufferSize, maxComputeWorkgroupStorageSize } });
  const buffers = [matrix(device, SEEDS.x), matrix(device, SEEDS.w), device.createBuffer({ size: SIDE * SIDE * 4, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC })];
  const kernels = {};
  for (const [name, code] of Object.entries(KERNELS)) kernels[name] = await measure(device, buffers, code);
  return { configurations, kernels };
};

writeFileSync(process.argv[2], `${JSON.stringify(await main(), null, 1)}\n`);
process.exit(0);
