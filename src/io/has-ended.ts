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
