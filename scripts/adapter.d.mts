import type { Plan } from './apt.mjs';

export interface Found {
  kind: 'found' | 'none' | 'crashed' | 'not-loadable';
  name?: string;
  vendor?: string;
  software?: string;
  isSoftware?: boolean;
  detail?: string;
}
export function interpretProbe(run: {
  status: number | null;
  signal: string | null;
  stdout?: string;
  stderr?: string;
  error?: { code?: string };
}): Found;
export function satisfies(found: Found, wanted: string): boolean;
export function loadRemedy(detail: string): string;
export function addSource(plan: Plan): void;
export function ensureAdapter(wanted: string, say: (line: string) => void): Found;
