import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import t from 'tap';
import { openDataset, type Dataset } from '../src/data/dataset.js';
import { DecodePool } from '../src/data/decode-pool.js';
import { generateImage, SYNTHETIC_CLASSES } from '../src/data/synthetic.js';
import { fixture, ids, labels, matArray, matElement, matFile, open, refusal, scratch, userMessage, write, writePng } from './data-helpers.js';

/** Two variants with a blank and a slash in their names; 3 training pictures and 2 test pictures. */
function aircraft(dir: string): string {
  const data = join(dir, 'data');
  write(join(data, 'variants.txt'), 'Boeing 737-300\nF/A-18\n');
  write(join(data, 'families.txt'), 'Boeing 737\r\nF/A-18\r\n');
  write(join(data, 'manufacturers.txt'), 'Boeing\nMcDonnell Douglas\n');
  const lists: Record<string, string[]> = { trainval: ['0000001 0', '0000002 1', '0000003 0'], test: ['0000004 1', '0000005 0'] };
  const names = { variant: ['Boeing 737-300', 'F/A-18'], family: ['Boeing 737', 'F/A-18'], manufacturer: ['Boeing', 'McDonnell Douglas'] };
  for (const [level, classes] of Object.entries(names)) {
    for (const [part, lines] of Object.entries(lists)) {
      const text = lines.map((line) => `${line.slice(0, 7)} ${classes[Number(line[8])]}`).join('\n');
      write(join(data, `images_${level}_${part}.txt`), `${level === 'family' ? '\ufeff' : ''}${text}\n`);
    }
  }
  write(join(dir, 'data', 'images_box.txt'), '0000001 1 2 12 8\n0000004 3 3 5 6\n');
  for (let i = 1; i <= 5; i++) writePng(join(data, 'images', `000000${i}.jpg`), i);
  return dir;
}

t.test('FGVC-Aircraft: names with blanks and slashes, levels, boxes, both roots', async (t) => {
  const dir = aircraft(scratch(t));
  for (const root of [dir, join(dir, 'data')]) {
    const set = await open('aircraft', root);
    t.same(set.classes, ['Boeing 737-300', 'F/A-18']);
    t.same([ids(set.train), labels(set.train)], [['0000001', '0000002', '0000003'], [0, 1, 0]]);
    t.same([ids(set.test), labels(set.test)], [['0000004', '0000005'], [1, 0]]);
    t.same(set.train.samples[0]!.box, { x0: 0, y0: 1, x1: 12, y1: 8 }, '1-based inclusive corners become half-open');
    t.equal(set.train.samples[1]!.box, undefined);
    t.ok(existsSync(set.test.samples[0]!.path!));
    t.notOk('where' in set.train.samples[0]!);
  }
  t.same((await open('aircraft', dir, { level: 'family' })).classes, ['Boeing 737', 'F/A-18'], 'CR LF line ends, and a mark of their order in front');
  t.same((await open('aircraft', dir, { level: 'manufacturer' })).classes[1], 'McDonnell Douglas');
  rmSync(join(dir, 'data', 'images_box.txt'));
  t.equal((await open('aircraft', dir)).train.samples[0]!.box, undefined, 'the box list is optional');
});

t.test('FGVC-Aircraft: bad lists', async (t) => {
  const dir = aircraft(scratch(t));
  const list = join(dir, 'data', 'images_variant_test.txt');
  const withList = (text: string, more = {}) => {
    write(list, text);
    return refusal('aircraft', dir, more);
  };
  t.match(await withList('0000004 Spitfire\n'), /images_variant_test\.txt line 1: class "Spitfire" is not in variants\.txt; unpack/);
  t.match(await withList('4 F/A-18\n'), /line 1: expected a 7-character id/);
  t.match(await withList('0000004 F/A-18\n0000004 F/A-18\n'), /0000004 is listed twice .*line 1 and .*line 2.*remove/);
  t.match(await withList('0000001 F/A-18\n'), /0000001 is listed twice .*trainval\.txt line 1 and .*test\.txt line 1/,
    'a test picture may not be a training picture');
  t.match(await withList('\n\n'), /images_variant_test\.txt is empty/);
  t.match(await withList('0000009 F/A-18\n0000004 F/A-18\n'), /1 of 5 listed images are not on disk: .*0000009\.jpg .*line 1.*--skip-bad-images/);
  const lenient = await open('aircraft', dir, { skipBadImages: true });
  t.same([ids(lenient.test), lenient.missing.length], [['0000004'], 1]);
  t.match(lenient.notes.join(), /1 listed image not on disk, left out: /);
  t.match(await withList('0000009 F/A-18\n', { skipBadImages: true }), /the test split .* is empty/);
  rmSync(list);
  t.match(await refusal('aircraft', dir), /images_variant_test\.txt is missing; unpack the whole FGVC-Aircraft archive/);
  write(list, '0000004 F/A-18\n');
  write(join(dir, 'data', 'images_box.txt'), '0000001 1 2 x 8\n');
  t.match(await refusal('aircraft', dir), /images_box\.txt line 1: expected a whole number, got "x"/);
  write(join(dir, 'data', 'images_box.txt'), '0000001 1 2 12 8\n0000004 3 3 2 6\n');
  t.match(await refusal('aircraft', dir), /images_box\.txt line 2: the box from 3, 3 to 2, 6 has no area/);
  write(join(dir, 'data', 'images_box.txt'), '0000001 0 0 0 0\n');
  t.match(await refusal('aircraft', dir), /images_box\.txt line 1: the box from 0, 0 to 0, 0 lies outside the picture/);
  write(join(dir, 'data', 'images_box.txt'), '0000001 1 -3 12 0\n');
  t.match(await refusal('aircraft', dir), /the box from 1, -3 to 12, 0 lies outside the picture/);
  write(join(dir, 'data', 'images_box.txt'), '0000001 1 2 12 8\n0000001 1 2 12 9\n');
  t.match(await refusal('aircraft', dir), /images_box\.txt line 2: image 0000001 has a box already/);
  rmSync(join(dir, 'data', 'images_box.txt'));
  write(join(dir, 'data', 'variants.txt'), 'F/A-18\nBoeing 737-300\nF/A-18\n');
  t.match(await refusal('aircraft', dir), /variants\.txt line 3: class "F\/A-18" stands in line 1 already/, 'else it would be a class without pictures');
  write(join(dir, 'data', 'variants.txt'), 'F/A-18\n');
  write(join(dir, 'data', 'images_variant_trainval.txt'), '0000002 F/A-18\n');
  t.match(await refusal('aircraft', dir), /one class only \("F\/A-18"\)/);
  t.match(await refusal('aircraft', dir, { level: 'airline' as 'family' }), /unknown level "airline"; choose variant, family or manufacturer/);
});

t.test('a folder that is missing, or holds no data set, is named', async (t) => {
  const dir = scratch(t);
  for (const name of ['aircraft', 'cub', 'cars', 'dogs'] as const) {
    t.match(await refusal(name, undefined), /--data DIR/);
    t.match(await refusal(name, join(dir, 'nowhere')), /nowhere does not exist.*--data/);
    t.match(await refusal(name, dir), /does not look like .*check --data and --dataset/);
    t.match(await refusal(name, writePng(join(dir, 'file.png'), 1)), /file\.png is not a folder/);
  }
  t.match(await refusal('birds' as 'cub', dir), /unknown dataset "birds"; choose one of synthetic, aircraft/);
});

function cub(dir: string): string {
  write(join(dir, 'images.txt'), '1 001.Black_footed_Albatross/a.jpg\n2 001.Black_footed_Albatross/b.jpg\n3 002.Laysan_Albatross/c.jpg\n4 002.Laysan_Albatross/d.jpg\n');
  write(join(dir, 'image_class_labels.txt'), '1 1\n2 1\n3 2\n4 2\n');
  write(join(dir, 'train_test_split.txt'), '1 1\n2 0\n3 1\n4 0\n');
  write(join(dir, 'bounding_boxes.txt'), '1 1.0 2.0 6.0 4.0\n4 0.0 0.0 12.0 8.0\n');
  for (const [i, file] of ['001.Black_footed_Albatross/a', '001.Black_footed_Albatross/b', '002.Laysan_Albatross/c', '002.Laysan_Albatross/d'].entries()) {
    writePng(join(dir, 'images', `${file}.jpg`), i);
  }
  return dir;
}

t.test('CUB-200-2011: classes by their numbers, boxes, bad lists', async (t) => {
  const dir = scratch(t);
  cub(join(dir, 'CUB_200_2011'));
  const set = await open('cub', dir);
  t.same(set.classes, ['001.Black_footed_Albatross', '002.Laysan_Albatross'], 'named by folder without classes.txt');
  t.same([ids(set.train), labels(set.train), ids(set.test), labels(set.test)], [['1', '3'], [0, 1], ['2', '4'], [0, 1]]);
  t.same([set.train.samples[0]!.box, set.train.samples[1]!.box], [{ x0: 1, y0: 2, x1: 7, y1: 6 }, undefined]);
  const root = join(dir, 'CUB_200_2011');
  for (const [box, message] of [
    ['-8 1 6 4', /line 2: the box "-8 1 6 4" \(x y width height\) has no pixel in the picture; unpack/],
    ['1 1 0.3 4', /line 2: the box "1 1 0\.3 4" .* has no pixel/],
    ['1 1 Infinity 4', /line 2: expected "id x y width height", got "4 1 1 Infinity 4"/], ['1 1 -3 4', /line 2: expected "id x y width height"/],
    ['1 1 nan 4', /line 2: expected/],
  ] as const) {
    write(join(root, 'bounding_boxes.txt'), `1 1.0 2.0 6.0 4.0\n4 ${box}\n`);
    t.match(await refusal('cub', root), message);
  }
  rmSync(join(root, 'bounding_boxes.txt'));
  write(join(root, 'classes.txt'), '1 Albatross one\n3 Albatross two\n');
  t.match(await refusal('cub', root), /classes\.txt numbers 2 classes, but has no class 2; unpack/);
  write(join(root, 'classes.txt'), '2 Albatross two\n1 Albatross one\n');
  t.same((await open('cub', root)).classes, ['Albatross one', 'Albatross two'], 'by their numbers, whatever their order');
  write(join(root, 'image_class_labels.txt'), '1 1\n2 1\n3 3\n4 2\n');
  t.match(await refusal('cub', root), /images\.txt line 3: label 2 of image 3 is out of range 0…1/);
  write(join(root, 'image_class_labels.txt'), '1 1\n2 1\n3 2\n');
  t.match(await refusal('cub', root), /images\.txt line 4: image 4 is not in image_class_labels\.txt/);
  write(join(root, 'image_class_labels.txt'), '1 1\n2 1\n3 2\n3 2\n');
  t.match(await refusal('cub', root), /image 3 is listed twice .*line 3 and .*line 4/);
  write(join(root, 'image_class_labels.txt'), '1 1\n2 1\n3 2\n4 two\n');
  t.match(await refusal('cub', root), /expected a whole number, got "two"/);
  write(join(root, 'image_class_labels.txt'), '1 1\n2 1\n3 2\n4 2\n');
  write(join(root, 'train_test_split.txt'), '1 1\n2 0\n3 yes\n4 0\n');
  t.match(await refusal('cub', root), /train_test_split\.txt line 3: expected 1 \(train\) or 0 \(test\) behind the id, got "yes"/);
});

t.test('CUB-200-2011: one file under two ids', async (t) => {
  const dir = cub(scratch(t));
  const again = (label: number, flag: number) => {
    write(join(dir, 'images.txt'), '1 a/1.png\n2 a/2.png\n3 b/1.png\n4 b/2.png\n5 a/1.png\n');
    write(join(dir, 'image_class_labels.txt'), `1 1\n2 1\n3 2\n4 2\n5 ${label}\n`);
    write(join(dir, 'train_test_split.txt'), `1 1\n2 0\n3 1\n4 0\n5 ${flag}\n`);
  };
  for (const file of ['a/1', 'a/2', 'b/1', 'b/2']) writePng(join(dir, 'images', `${file}.png`), 1);
  again(1, 0);
  t.match(await refusal('cub', dir), /images.a.1\.png is listed in two splits or with two labels \(.*images\.txt line 1 and .*images\.txt line 5\)/,
    'trained and tested on');
  again(2, 1);
  t.match(await refusal('cub', dir), /in two splits or with two labels/);
  again(1, 1);
  t.equal((await open('cub', dir)).train.samples.length, 3, 'to train on one twice is no fault');
});

t.test('Stanford Cars: both annotation layouts', async (t) => {
  const separate = scratch(t);
  mkdirSync(join(separate, 'devkit'));
  for (const name of ['cars_train_annos.mat', 'cars_meta.mat']) copyFileSync(fixture('mat', name), join(separate, 'devkit', name));
  for (const [folder, count] of [['cars_train', 3], ['cars_test', 2]] as const) {
    for (let i = 1; i <= count; i++) writePng(join(separate, folder, `0000${i}.jpg`), i);
  }
  write(join(separate, 'devkit', 'cars_test_annos.mat'), 'unlabelled');
  t.match(await refusal('cars', separate), /cars_test_annos_withlabels\.mat is missing .*carries no labels.*separate download/);
  copyFileSync(fixture('mat', 'cars_test_annos_withlabels.mat'), join(separate, 'cars_test_annos_withlabels.mat'));
  const set = await open('cars', separate);
  t.same(set.classes, ['AM General Hummer SUV 2000', 'Acura RL Sedan 2012']);
  t.same([labels(set.train), labels(set.test)], [[1, 0, 1], [0, 1]]);
  t.same(set.train.samples[0]!.box, { x0: 2, y0: 1, x1: 22, y1: 14 });
  t.equal(set.test.samples[0]!.box!.x1, 300);
  rmSync(join(separate, 'devkit', 'cars_meta.mat'));
  t.same((await open('cars', separate)).classes, ['class 1', 'class 2'], 'works without the class names');

  const merged = scratch(t);
  copyFileSync(fixture('mat', 'cars_annos.mat'), join(merged, 'cars_annos.mat'));
  for (let i = 1; i <= 3; i++) writePng(join(merged, 'car_ims', `00000${i}.jpg`), i);
  const one = await open('cars', merged);
  t.same([one.classes[1], labels(one.train), labels(one.test), ids(one.test)], ['Acura RL Sedan 2012', [1, 0], [1], ['000003.jpg']]);
  t.same(one.test.samples[0]!.box, { x0: 4, y0: 3, x1: 20, y1: 10 });

  const path = join(merged, 'cars_annos.mat');
  const whole = readFileSync(path);
  const broken = async (bytes: Uint8Array | string) => {
    write(path, bytes);
    return refusal('cars', merged);
  };
  t.match(await broken(whole.subarray(0, 300)), /cars_annos\.mat is damaged or cut short .*download it again/);
  t.match(await broken('MATLAB 7.3 MAT-file, Platform: GLNXA64'), /MATLAB 7\.3 \(HDF5\)/);
  t.match(await broken('<html>'), /is not a MATLAB v5 file \(6 bytes\)/);
  t.match(await broken(readFileSync(fixture('mat', 'cars_meta.mat'))), /has no struct array "annotations" \(it holds: class_names\)/);
  const field = matElement(5, Buffer.from(Int32Array.of(16).buffer));
  const names = ['bbox_x1', 'bbox_y1', 'bbox_x2', 'bbox_y2', 'class', 'test', 'relative_im_path'];
  const number = (value: number) => matArray(6, '', 1, matElement(9, Buffer.from(Float64Array.of(value).buffer)));
  const values = [...[2, 0].map(number), matArray(4, '', 1, matElement(16, Buffer.from('car_ims/000001.jpg')))];
  const boxed = (...corners: number[]) =>
    matFile(matArray(2, 'annotations', 1, field, matElement(1, Buffer.from(names.map((name) => name.padEnd(16, '\0')).join(''))), ...corners.map(number),
      ...values));
  t.match(await broken(boxed(22, 2, 3, 14)), /cars_annos\.mat annotation 1: the box from 22, 2 to 3, 14 has no area; unpack/);
  t.match(await broken(boxed(3, 2, Infinity, 14)), /annotation 1: a box has four numbers, found 3, 2, Infinity, 14; unpack/);
  t.match(await broken(boxed(3, NaN, 22, 14)), /annotation 1: a box has four numbers, found 3, NaN, 22, 14; unpack/);
  for (const width of [0, -1]) {
    const fieldWidth = matElement(5, Buffer.from(Int32Array.of(width).buffer));
    const annotations = matArray(2, 'annotations', 1, fieldWidth, matElement(1, Buffer.from('fname\0\0\0')));
    t.match(await broken(matFile(annotations)), /cars_annos\.mat is damaged .*its field names are -?\d bytes long.*download it again/,
      `names of ${width} bytes would never end`);
  }
  const zeros = matElement(15, deflateSync(Buffer.alloc(65 << 20)));
  t.match(await broken(matFile(zeros)), /cars_annos\.mat unpacks to more than 64 MiB/);
  const half = matElement(15, deflateSync(Buffer.alloc(40 << 20)));
  t.match(await broken(matFile(half, half)), /cars_annos\.mat unpacks to more than 64 MiB/, 'all parts together');
});

t.test('Stanford Dogs: classes by their folders, labels of both lists, bad lists', async (t) => {
  const dir = scratch(t);
  for (const part of ['train', 'test']) copyFileSync(fixture('mat', `${part}_list.mat`), join(dir, `${part}_list.mat`));
  for (const dog of ['n02085620-Chihuahua', 'n02086646-Blenheim_spaniel']) {
    for (let i = 1; i <= 3; i++) writePng(join(dir, 'Images', dog, `${dog.split('-')[0]}_${i}.jpg`), i);
  }
  const set = await open('dogs', dir);
  t.same(set.classes, ['Chihuahua', 'Blenheim_spaniel']);
  t.same([labels(set.train), labels(set.test)], [[0, 0, 1, 1], [0, 1]]);
  for (const label of [NaN, 1e300, 1.5, 0]) {
    const numbers = matElement(9, Buffer.from(Float64Array.of(label).buffer));
    const text = matArray(4, '', 1, matElement(16, Buffer.from('n02085620-Chihuahua/n02085620_1.jpg')));
    write(join(dir, 'test_list.mat'), matFile(matArray(1, 'file_list', 1, text), matArray(6, 'labels', 1, numbers)));
    t.match(await refusal('dogs', dir), /test_list\.mat entry 1: \S+ of image n02085620-Chihuahua\/n02085620_1\.jpg is not the number of a class/,
      `label ${label}`);
  }
  rmSync(join(dir, 'test_list.mat'));
  t.match(await refusal('dogs', dir), /test_list\.mat is missing; unpack images\.tar and lists\.tar/);
});

t.test('hold-out and limits are stratified, disjoint and repeatable', async (t) => {
  const embedded = { train: 160, test: 80 };
  const set = await openDataset('synthetic', { seed: 4, valFraction: 0.25, limitTrain: 24, limitTest: 8, embedded });
  const perClass = (split: Dataset['train']) => SYNTHETIC_CLASSES.map((_, label) => split.samples.filter((s) => s.label === label).length);
  t.same(perClass(set.val!), Array(8).fill(5), 'a quarter of 20');
  t.same([perClass(set.train), perClass(set.test)], [Array(8).fill(3), Array(8).fill(1)]);
  t.equal(new Set([...ids(set.train), ...ids(set.val!)]).size, 24 + 40, 'no picture in both');
  const again = await openDataset('synthetic', { seed: 4, valFraction: 0.25, limitTrain: 24, limitTest: 8, embedded });
  t.same([ids(again.train), ids(again.val!), ids(again.test)], [ids(set.train), ids(set.val!), ids(set.test)]);
  const other = await openDataset('synthetic', { seed: 5, valFraction: 0.25, embedded });
  t.notSame(ids(other.val!), ids(set.val!));
  t.same((await openDataset('synthetic', { seed: 4, limitTrain: 10, embedded })).train.samples.length, 10);
  t.match((await openDataset('synthetic', { seed: 4, limitTrain: 6, embedded })).notes, [/^2 of 8 classes have no training image: /], 'of the subset');
  t.match(await userMessage(() => openDataset('synthetic', { seed: 4, valFraction: 1 })), /validation fraction must lie in \[0, 1\)/);
  t.match(await userMessage(() => openDataset('synthetic', { seed: 4, limitTest: 0 })), /limitTest must be a whole number, 1 or more/);
  t.match(await userMessage(() => openDataset('synthetic', { seed: -1 })), /seed must be a whole number/);
  t.match(await userMessage(() => openDataset('synthetic', { seed: 1, embedded: { train: 3, test: 8 } })), /at least 8 train pictures/);
});

t.test('embedded pictures come with pixels and box', async (t) => {
  const set = await openDataset('synthetic', { seed: 11, embedded: { train: 8, test: 8 } });
  t.same(set.classes, SYNTHETIC_CLASSES);
  const pool = new DecodePool({ workers: 0 });
  t.teardown(() => pool.close());
  const sample = set.test.samples[3];
  const image = await pool.decode(sample!);
  const expected = generateImage(11, 'test', 3);
  t.same([image.width, image.height, image.box, sample!.label], [128, 128, expected.box, expected.label]);
  t.ok(image.rgba.every((value, i) => value === (i % 4 === 3 ? 255 : expected.pixels[3 * (i >> 2) + (i % 4)])));
});

const pictures = process.env.PIPIT_TEST_DATA;

t.test('a real set of pictures', { skip: pictures ? false : 'PIPIT_TEST_DATA names no folder in the layout of FGVC-Aircraft' }, async (t) => {
  const set = await open('aircraft', pictures, { valFraction: 0.1 });
  t.equal(new Set(labels(set.test)).size, set.classes.length);
  t.equal(set.val!.samples.length, Math.round(0.1 * (set.val!.samples.length + set.train.samples.length)));
  const sample = set.train.samples[0];
  const pool = new DecodePool({ workers: 0 });
  t.teardown(() => pool.close());
  const { width, height } = await pool.decode(sample!);
  t.ok(!sample!.box || (sample!.box.x1 <= width && sample!.box.y1 <= height && sample!.box.x0 >= 0));
});
