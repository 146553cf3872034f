/** What {@link vulkanEnvironment} asks about a machine. */
export interface Machine {
  env: Record<string, string | undefined>;
  platform: string;
  homeFolder: string;
  temporaryFolder: string;
  exists(path: string): boolean;
  list(folder: string): string[];
  read(file: string): string;
}

/**
 * The environment variables that make the Vulkan loader offer the wanted adapter: `lavapipe`, `swiftshader`,
 * part of an adapter's name, or '' for the best there is.
 */
export function vulkanEnvironment(wanted: string, machine?: Machine): Record<string, string>;

/** Applies {@link vulkanEnvironment} to this process; main thread only, before the first adapter request. */
export function prepareVulkanEnvironment(wanted?: string): void;
