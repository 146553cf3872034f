// ONNX Runtime for Node with its WebGPU provider, which carries its own build of Dawn. Inference only. It takes inputs
// from the host and hands results back to it on every run; its times include that.
import { singleNodeModel } from './onnx.mjs';

let ort;

export const open = async () => {
  ort = (await import('onnxruntime-node')).default;
  return { version: ort.env.versions.node };
};

const nodes = {
  conv: ({ attrs: { stride, pad }, inputs }) => ({
    op: 'Conv', operands: ['x', 'w'], constants: ['w'], attributes: { kernel_shape: inputs.w.slice(2), strides: [stride, stride], pads: [...pad, ...pad] },
  }),
  matmul: () => ({ op: 'MatMul', operands: ['a', 'b'], constants: [], attributes: {} }),
  attentionPool: () => ({ op: 'Einsum', operands: ['a', 'b'], constants: [], attributes: { equation: 'imjk,injk->imn' } }),
  resize: () => ({ op: 'Resize', operands: ['x', '', '', 'sizes'], constants: [], attributes: { mode: 'linear', coordinate_transformation_mode: 'align_corners' } }),
  maxPool: ({ attrs: { kernel, stride } }) => ({ op: 'MaxPool', operands: ['x'], constants: [], attributes: { kernel_shape: [kernel, kernel], strides: [stride, stride] } }),
};

export const prepare = async (row, inputs) => {
  if (!row.outputs.y) throw new Error('inference only');
  if (!nodes[row.op]) throw new Error('inference only: no batch statistics');
  const { constants: fixed, ...node } = nodes[row.op](row);
  const fed = Object.keys(inputs).filter((name) => !fixed.includes(name));
  const constants = Object.fromEntries(fixed.map((name) => [name, inputs[name]]));
  if (row.op === 'resize') constants.sizes = { shape: [4], data: BigInt64Array.from([...row.inputs.x.slice(0, 2), ...row.attrs.size], BigInt) };
  const model = singleNodeModel(node, Object.fromEntries(fed.map((name) => [name, row.inputs[name]])), constants, row.outputs.y);
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ['webgpu'],
    logSeverityLevel: 3,
    // What the provider lacks would otherwise run on the CPU without a word.
    extra: { session: { disable_cpu_ep_fallback: '1' } },
  });
  const feeds = Object.fromEntries(fed.map((name) => [name, new ort.Tensor('float32', inputs[name].data, inputs[name].shape)]));
  let last;
  return {
    launch: async () => { last = (await session.run(feeds)).y; },
    wait: async () => {},
    outputs: () => ({ y: { shape: [...last.dims], data: Float32Array.from(last.data) } }),
    release: () => session.release(),
  };
};
