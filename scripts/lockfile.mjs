/**
 * Do the installed packages answer the lockfile? Compares versions, not dates: a checkout touches dates.
 * Optional packages (binaries of other platforms) may be absent.
 *
 * @param {string} lockText content of package-lock.json
 * @param {string} installedText content of node_modules/.package-lock.json
 */
export function isInstalled(lockText, installedText) {
  const wanted = JSON.parse(lockText).packages;
  const present = JSON.parse(installedText).packages;
  return Object.entries(wanted).every(([path, entry]) =>
    path === '' || (entry.optional && !present[path]) || present[path]?.version === entry.version);
}
