// Looks at the files that a run is to write before it measures anything: figures that took an hour must not be lost to a mistyped
// folder. Plain JavaScript, because the comparison with other libraries needs it without a build; its types stand in outputs.d.mts.
import { accessSync, constants, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

const look = (path) => statSync(path, { throwIfNoEntry: false });

const fileComplaint = (path) => {
  if (path === '') return 'it has no name';
  const folder = dirname(resolve(path));
  const above = look(folder);
  if (!above) return `the folder ${folder} does not exist; create it first`;
  if (!above.isDirectory()) return `${folder} is a file, not a folder`;
  const there = look(path);
  if (there?.isDirectory() || /[/\\]$/.test(path)) return 'it is a folder; name a file in it';
  if (there && !there.isFile()) return 'it is no ordinary file; choose another name';
  accessSync(folder, constants.W_OK);
  return undefined;
};

const whyNot = (path) => {
  try {
    return fileComplaint(path);
  } catch (error) {
    return `${error.message}; choose another folder`;
  }
};

export const outputComplaint = (outputs) => {
  const named = Object.entries(outputs).filter(([, path]) => path !== undefined);
  for (const [i, [name, path]] of named.entries()) {
    const reason = whyNot(path);
    if (reason) return `${name}: ${path || '""'} cannot be written: ${reason}.`;
    const twin = named.slice(0, i).find(([, other]) => resolve(other) === resolve(path));
    if (twin) return `${twin[0]} and ${name} name the same file, ${path}; give each its own.`;
  }
  return undefined;
};
