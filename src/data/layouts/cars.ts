import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fail } from '../../errors.js';
import { findRoot, readBytes } from '../list-file.js';
import { matNumber, matRecords, matText, matTexts, parseMat, type MatValue } from '../mat-file.js';
import { boxBetween, imagePath, namesByLabel, type Entry, type Listing, type TrueBox } from '../split.js';

const TRAIN = 'cars_train_annos.mat';
const TEST = 'cars_test_annos_withlabels.mat';
const MERGED = 'cars_annos.mat';
const REMEDY = 'unpack the Stanford Cars archives into one folder and point --data at it';

/**
 * Stanford Cars in either of its layouts: cars_annos.mat + car_ims/ (one list with a test flag), or
 * devkit/cars_train_annos.mat + cars_test_annos_withlabels.mat + cars_train/ + cars_test/.
 * Classes are 1-based in the files.
 */
export function readCars(dir: string | undefined): Listing {
  const root = findRoot(dir, ['stanford_cars', 'car_data'], [MERGED, 'devkit', TRAIN], 'Stanford Cars');
  return existsSync(join(root, MERGED)) ? readMerged(root) : readSeparate(root);
}

function readMerged(root: string): Listing {
  const path = join(root, MERGED);
  const variables = parseMat(readBytes(path, REMEDY), path);
  const train: Entry[] = [];
  const test: Entry[] = [];
  matRecords(variables, 'annotations', path).forEach((record, i) => {
    const where = `${path} annotation ${i + 1}`;
    const relative = matText(record.relative_im_path, `${where}, relative_im_path`);
    const isTest = matNumber(record.test, `${where}, test`) !== 0;
    (isTest ? test : train).push(entryOf(record, basename(relative), imagePath(root, relative), where));
  });
  return { name: 'Stanford Cars', classes: matTexts(variables, 'class_names', path), train, test };
}

function readSeparate(root: string): Listing {
  const train = readAnnotations(locate(root, TRAIN, ''), root, 'cars_train');
  const test = readAnnotations(locate(root, TEST, testHint(root)), root, 'cars_test');
  return { name: 'Stanford Cars', classes: readClassNames(root, [...train, ...test]), train, test };
}

function readAnnotations(path: string, root: string, folder: string): Entry[] {
  const images = existsSync(join(root, folder, folder)) ? join(root, folder, folder) : join(root, folder);
  return matRecords(parseMat(readBytes(path, REMEDY), path), 'annotations', path).map((record, i) => {
    const where = `${path} annotation ${i + 1}`;
    const file = matText(record.fname, `${where}, fname`);
    return entryOf(record, `${folder}/${file}`, join(images, file), where);
  });
}

function entryOf(record: Record<string, MatValue>, id: string, path: string, where: string): Entry {
  return { id, label: matNumber(record.class, `${where}, class`) - 1, path, where, ...boxOf(record, where) };
}

function boxOf(record: Record<string, MatValue>, where: string): TrueBox | undefined {
  const corners = ['bbox_x1', 'bbox_y1', 'bbox_x2', 'bbox_y2'].map((field) => {
    const value = record[field];
    return value?.kind === 'number' && value.data.length === 1 ? value.data[0]! : NaN;
  });
  // Annotations without boxes are in use, too.
  return corners.every(Number.isNaN) ? undefined : { box: boxBetween(corners, where, REMEDY), boxFrom: where };
}

function locate(root: string, file: string, hint: string): string {
  const places = [join(root, 'devkit', file), join(root, file)];
  return places.find((place) => existsSync(place)) ?? fail(`${file} is missing (looked at ${places.join(' and ')}); ${hint || REMEDY}`);
}

function testHint(root: string): string {
  const unlabelled = existsSync(join(root, 'devkit', 'cars_test_annos.mat'));
  const remark = unlabelled ? 'cars_test_annos.mat carries no labels: ' : '';
  return `${remark}the labelled test list is a separate download, put it into the folder or its devkit/`;
}

/** Names from cars_meta.mat, or numbers where only the annotations are at hand. */
function readClassNames(root: string, entries: Entry[]): string[] {
  const path = [join(root, 'devkit', 'cars_meta.mat'), join(root, 'cars_meta.mat')].find((place) => existsSync(place));
  if (path) return matTexts(parseMat(readBytes(path, REMEDY), path), 'class_names', path);
  return namesByLabel(entries, ({ label }) => `class ${label + 1}`);
}
