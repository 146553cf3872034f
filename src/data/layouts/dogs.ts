import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fail } from '../../errors.js';
import { findRoot, readBytes } from '../list-file.js';
import { matTexts, parseMat } from '../mat-file.js';
import { imagePath, namesByLabel, type Entry, type Listing } from '../split.js';

const REMEDY = 'unpack images.tar and lists.tar of Stanford Dogs into one folder and point --data at it';

/**
 * Stanford Dogs: train_list.mat and test_list.mat with `file_list` ("folder/file" below Images/) and 1-based
 * `labels`. The class name is the folder's name behind its WordNet id.
 */
export function readDogs(dir: string | undefined): Listing {
  const root = findRoot(dir, [], ['train_list.mat', join('lists', 'train_list.mat'), 'Images'], 'Stanford Dogs');
  const train = readList(root, 'train_list.mat');
  const test = readList(root, 'test_list.mat');
  return { name: 'Stanford Dogs', classes: namesByLabel([...train, ...test], className), train, test };
}

function readList(root: string, file: string): Entry[] {
  const nested = join(root, 'lists', file);
  const path = existsSync(nested) ? nested : join(root, file);
  const variables = parseMat(readBytes(path, REMEDY), path);
  const files = matTexts(variables, 'file_list', path);
  const labels = variables.get('labels');
  if (labels?.kind !== 'number' || labels.data.length !== files.length) {
    fail(`${path}: "labels" has ${labels?.kind === 'number' ? labels.data.length : 'no'} numbers for ${files.length} files; download it again`);
  }
  return files.map((relative, i) => {
    const label = labels.data[i]! - 1;
    return { id: relative, label, path: imagePath(join(root, 'Images'), relative), where: `${path} entry ${i + 1}` };
  });
}

function className({ id }: Entry): string {
  const folder = id.split('/')[0]!;
  return folder.slice(folder.indexOf('-') + 1);
}
