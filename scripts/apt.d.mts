export interface AptSource { uris: string[]; suites: string[]; components: string[]; options: Record<string, string> }
export interface Policy { installed: string; candidate: string; versions: { version: string; suites: string[] }[] }
export interface Plan {
  driver: string;
  packages: string[];
  targetRelease?: string;
  addSource?: { path: string; text: string };
  problem?: undefined;
}
export interface Problem { problem: string }
export function parseAptSources(files: { name: string; text: string }[]): AptSource[];
export function parseOsRelease(text: string): Record<string, string>;
export function parsePolicy(text: string): Policy;
export function majorVersion(version: string): number;
export function backportsSource(sources: AptSource[], codename: string): string;
export function planInstall(known: {
  wanted: string;
  os: Record<string, string>;
  mesa: Policy;
  chromium: Policy;
  sources: AptSource[];
}): Plan | Problem;
export function installArguments(plan: Plan): string[];
export function shellCommand(plan: Plan): string;
