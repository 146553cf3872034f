// Run as a child process by adapter.mjs: looks for an adapter, opens a device on it, prints one JSON line.
// A separate process, because a broken driver may end it without any JavaScript error.
import { prepareVulkanEnvironment } from '../src/device/vulkan-env.mjs';

const MARK = 'PIPIT_PROBE ';
const wanted = process.argv[2] ?? '';

const softwareName = (info) => (/llvmpipe|lavapipe/i.test(info.description) ? 'lavapipe' : /swiftshader/i.test(`${info.description} ${info.architecture}`) ? 'swiftshader' : '');

const probe = async () => {
  prepareVulkanEnvironment(wanted);
  let dawn;
  try {
    dawn = await import('webgpu');
  } catch (error) {
    return { kind: 'not-loadable', detail: error.message };
  }
  Object.assign(globalThis, dawn.globals);
  // Kept on the global object: collecting it while a device lives ends the process.
  globalThis.pipitGpu = dawn.create([]);
  const adapter = await globalThis.pipitGpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) return { kind: 'none' };
  const device = await adapter.requestDevice();
  const { vendor, architecture, device: model, description } = adapter.info;
  const software = softwareName(adapter.info);
  device.destroy();
  return { kind: 'found', name: description || model || architecture, vendor, software, isSoftware: software !== '' || adapter.info.isFallbackAdapter === true };
};

const answer = await probe().catch((error) => ({ kind: 'none', detail: error.message }));
process.stdout.write(`\n${MARK}${JSON.stringify(answer)}\n`, () => process.exit(0));
