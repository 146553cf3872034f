// Which Vulkan drivers the loader sees. Plain JavaScript, because the set-up script needs it before
// anything is built; its types stand in vulkan-env.d.mts. The only copy of this knowledge.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where Debian's and other packages of Chromium keep SwiftShader's driver manifest. */
const SWIFTSHADER = [
  '/usr/lib/chromium/vk_swiftshader_icd.json',
  '/usr/lib/chromium-browser/vk_swiftshader_icd.json',
  '/usr/lib64/chromium-browser/vk_swiftshader_icd.json',
  '/opt/google/chrome/vk_swiftshader_icd.json',
];

/** Folders the Vulkan loader searches by itself. */
const LOADER_FOLDERS = ['/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/usr/share/vulkan/icd.d'];

/** Folders where containers and some distributions mount the GPU's driver unknown to the loader. */
const FURTHER_FOLDERS = ['/usr/local/nvidia/share/vulkan/icd.d', '/run/opengl-driver/share/vulkan/icd.d'];

/** Dawn refuses Mesa before 24; the manifest of its lavapipe ends with an older Vulkan header number than this. */
const MODERN_LAVAPIPE = 270;

const realMachine = () => ({
  env: process.env,
  platform: process.platform,
  homeFolder: homedir(),
  temporaryFolder: tmpdir(),
  exists: existsSync,
  list: (folder) => (existsSync(folder) ? readdirSync(folder) : []),
  read: (file) => readFileSync(file, 'utf8'),
});

const manifests = (folders, machine) =>
  folders.flatMap((folder) => machine.list(folder).filter((name) => name.endsWith('.json')).sort().map((name) => `${folder}/${name}`));

const lavapipeManifest = (machine) =>
  manifests([...LOADER_FOLDERS, ...FURTHER_FOLDERS], machine).find((file) => /\/lvp_icd[^/]*\.json$/.test(file));

const isModern = (file, machine) => {
  try {
    return Number(String(JSON.parse(machine.read(file)).ICD.api_version).split('.')[2]) >= MODERN_LAVAPIPE;
  } catch {
    return false;
  }
};

/** `VK_ICD_FILENAMES` is the name that loaders before 1.3.207 know. */
const only = (file) => (file ? { VK_DRIVER_FILES: file, VK_ICD_FILENAMES: file } : {});

/**
 * Without a choice the loader's own search stays in force, so a real GPU wins. Drivers it would miss are added;
 * SwiftShader only where no usable lavapipe is, since of two software drivers the first listed would win.
 */
const automatic = (machine) => {
  if (machine.env.VK_DRIVER_FILES || machine.env.VK_ICD_FILENAMES || machine.env.VK_ADD_DRIVER_FILES) return {};
  const added = manifests(FURTHER_FOLDERS, machine);
  const lavapipe = lavapipeManifest(machine);
  const swiftshader = SWIFTSHADER.find((file) => machine.exists(file));
  if (swiftshader && !(lavapipe && isModern(lavapipe, machine))) added.push(swiftshader);
  return added.length ? { VK_ADD_DRIVER_FILES: added.join(':') } : {};
};

/**
 * Mesa's cache does not tell lavapipe's vector widths apart: with a width that somebody chose, kernels compiled for another
 * would be run, and compute nonsense. Such a width gets a cache of its own.
 */
const cacheOfWidth = ({ env, homeFolder }) => {
  const width = env.LP_NATIVE_VECTOR_WIDTH ?? '';
  if (!/^\d+$/.test(width) || env.MESA_SHADER_CACHE_DIR) return {};
  return { MESA_SHADER_CACHE_DIR: join(env.XDG_CACHE_HOME || join(homeFolder, '.cache'), `mesa-${width}-bits`) };
};

/**
 * The environment variables that make the Vulkan loader offer the wanted adapter.
 *
 * @param {string} wanted `lavapipe`, `swiftshader`, part of an adapter's name, or '' for the best there is
 * @param machine what is asked about the machine; tests pass a made-up one
 * @returns variables to set; empty where nothing needs to change (macOS and Windows have no Vulkan loader to steer)
 */
export function vulkanEnvironment(wanted, machine = realMachine()) {
  if (machine.platform !== 'linux') return {};
  const choice = wanted.trim().toLowerCase();
  const variables =
    choice === 'swiftshader' ? only(SWIFTSHADER.find((file) => machine.exists(file)))
    : choice === 'lavapipe' ? only(lavapipeManifest(machine))
    : automatic(machine);
  // Mesa keeps compiled shaders on disk unless told otherwise; on a software adapter that saves most of the second start.
  if (!machine.env.MESA_SHADER_CACHE_DISABLE) variables.MESA_SHADER_CACHE_DISABLE = 'false';
  Object.assign(variables, cacheOfWidth(machine));
  if (!machine.env.XDG_RUNTIME_DIR) variables.XDG_RUNTIME_DIR = machine.temporaryFolder;
  return variables;
}

/**
 * Applies {@link vulkanEnvironment} to this process. Call it on the main thread (a worker's `process.env` is only a
 * copy) and before the first adapter is requested: the loader reads the variables when its instance is created.
 */
export function prepareVulkanEnvironment(wanted = process.env.PIPIT_ADAPTER ?? '') {
  Object.assign(process.env, vulkanEnvironment(wanted));
}
