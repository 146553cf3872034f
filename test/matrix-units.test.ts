/**
 * The kernels of matrix units compile. Few adapters have such units (NVIDIA's GPUs do, and Mesa's lavapipe in version 26); there `ops.test`
 * with PIPIT_GEMM=tile PIPIT_PRECISION=mixed compares what they compute. Everywhere else at least Dawn reads their text, without any adapter.
 */
import t from 'tap';
import { openDevice } from '../src/device/node.js';
import { matrixTiles, shaders } from '../src/ops/gemm-tiling.js';

process.env.PIPIT_DAWN_FLAGS = 'backend=null';
const device = await openDevice({ adapter: '' });

const errorsOf = async (code: string): Promise<string[]> => {
  device.gpu.pushErrorScope('validation');
  const info = await device.gpu.createShaderModule({ code }).getCompilationInfo();
  await device.gpu.popErrorScope();
  return info.messages.filter(({ type }) => type === 'error').map(({ message, lineNum }) => `${message}: ${code.split('\n')[lineNum - 1]}`);
};

for (const [side, lanes] of [[16, 32], [8, 8]] as const) {
  for (const { name, constants } of matrixTiles({ matrixSide: side, subgroupSize: lanes })) {
    await t.test(`tiles ${name} of matrices of ${side} by ${side}`, async (t) => {
      for (const half of [['x', 'w'], ['x', 'w', 'y'], ['x', 'w', 'bias', 'residual', 'y']]) {
        t.strictSame(await errorsOf(shaders.matrices.specialise({ constants, half }).code), [], `float16 in ${half.join(', ')}`);
      }
    });
  }
}
device.close();
