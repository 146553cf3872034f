import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** The number of the namespace of processes that is no container's. */
const NO_CONTAINER = 'pid:[4026531836]';

/** Where a number stands for a process: a machine, one of its starts, and a container. What the system does not tell is empty. */
export interface Place {
  readonly host: string;
  readonly boot: string;
  readonly container: string;
}

const told = (read: () => string): string => {
  try {
    return read().trim();
  } catch {
    return '';
  }
};

export const thisPlace = (): Place => ({
  host: hostname(),
  boot: told(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')),
  container: told(() => readlinkSync('/proc/self/ns/pid')),
});

/** When a process of this place began, in the system's own count; empty where it does not tell. A number may be given to another process later. */
export const beginOf = (pid: number): string => told(() => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name stands in brackets and may hold anything; the 22nd field is wanted.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
});

/**
 * Whether the process that left a file behind with this number is gone. Our own number, too, is that of an earlier process:
 * in containers each start may get the same one.
 */
export const hasEnded = (pid: number): boolean => {
  if (pid === process.pid) return true;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    // Without permission to signal it, it is somebody else's, and alive.
    return (error as NodeJS.ErrnoException).code !== 'EPERM';
  }
};

/** As {@link hasEnded}, where more is known of the process; null where it cannot be known from here. */
export const hasEndedAt = (pid: number, place: Place, begin: string): boolean | null => {
  const here = thisPlace();
  const restarted = place.boot !== here.boot;
  if (place.host !== here.host || place.container !== here.container) return null;
  // Containers may share a name with others elsewhere; machines do not.
  if (restarted) return here.container === NO_CONTAINER ? true : null;
  const now = beginOf(pid);
  return begin && now ? now !== begin : hasEnded(pid);
};
