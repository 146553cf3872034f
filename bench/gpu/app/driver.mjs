// Finds a driver. Bare machines and containers often have NVIDIA's libraries but no manifest that tells the Vulkan
// loader about them; then one is written.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Where NVIDIA's libraries lie besides what the linker's cache knows. */
const FOLDERS = ['/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/usr/lib', '/usr/local/nvidia/lib64', '/usr/lib/x86_64-linux-gnu/nvidia/current', '/run/opengl-driver/lib', '/usr/local/nvidia/lib'];
/** Both hold the Vulkan driver. The second one needs the libraries of X, which headless machines lack. */
const DRIVERS = ['libEGL_nvidia.so.0', 'libGLX_nvidia.so.0'];

const linkerCache = () => {
  for (const command of ['/sbin/ldconfig', '/usr/sbin/ldconfig', 'ldconfig']) {
    try {
      return execFileSync(command, ['-p'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    } catch {
      // Not in this place: the next one, or no cache at all.
    }
  }
  return '';
};

const findLibrary = (name, cache) => {
  const cached = cache.split('\n').find((line) => line.includes(`${name} `) && line.includes('x86-64'))?.split(' => ')[1]?.trim();
  return cached ?? FOLDERS.map((folder) => join(folder, name)).find((path) => existsSync(path));
};

/** A manifest for a driver library, and the folder in which its other parts are found. */
const withManifest = (library, folder) => {
  const file = join(folder, `${library.split('/').at(-1)}.json`);
  writeFileSync(file, JSON.stringify({ file_format_version: '1.0.0', ICD: { library_path: library, api_version: '1.3.0' } }));
  const path = [process.env.LD_LIBRARY_PATH, dirname(library)].filter(Boolean).join(':');
  return { title: `a manifest for ${library}`, env: { VK_DRIVER_FILES: file, VK_ICD_FILENAMES: file, LD_LIBRARY_PATH: path } };
};

/** Environments to try, the system's own settings first. */
export const driverChoices = (folder) => {
  const cache = linkerCache();
  const found = DRIVERS.map((name) => findLibrary(name, cache)).filter(Boolean);
  return [{ title: 'the system\'s own Vulkan drivers', env: {} }, ...found.map((library) => withManifest(library, folder))];
};

/** What can be said of an NVIDIA GPU without Vulkan. */
export const nvidiaTraces = () => {
  const devices = existsSync('/dev') ? readdirSync('/dev').filter((name) => name.startsWith('nvidia')) : [];
  let card = '';
  try {
    card = execFileSync('nvidia-smi', ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    // There is no nvidia-smi.
  }
  return { devices, card };
};
