/** Pictures listed in a table. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openData } from '../src/train/session.js';
import { ids, labels, open, refusal, scratch, write, writePng } from './data-helpers.js';
import { configOf } from './support/default-training.js';

const pictures = (dir: string, ...names: string[]): void => names.forEach((name, i) => { writePng(join(dir, name), i); });

t.test('columns by their names, paths beside the table, parts and boxes', async (t) => {
  const dir = scratch(t);
  pictures(dir, 'a 1.png', 'deep/b.png', 'c.png', 'd.png', 'e.png');
  const table = write(join(dir, 'labels.csv'), 'path;label;split\na 1.png;wren;train\nc.png;wren\n');
  t.match(await refusal('csv', table),
    /labels\.csv is no table: Invalid Record Length: columns length is 3, got 2 on line 3; each line needs as many cells as the first, and quotes around a text with ";" in it/, 'a line with a cell too few');
  write(table, '\ufeffFilename;Split;Species;xmin;ymin;xmax;ymax\r\na 1.png;Train;wren;1;2;5;7.5\r\ndeep/b.png;train;"crow; hooded";;;;\r\n\r\n' +
    `${join(dir, 'c.png')};TEST;wren;0;0;3;3\r\nd.png;val;"crow; hooded";;;;\r\ne.png;test;wren;;;;\r\n`);
  const set = await open('csv', table);
  t.same(set.classes, ['crow; hooded', 'wren']);
  t.same([ids(set.train), labels(set.train), labels(set.val!), labels(set.test)], [['a 1.png', 'deep/b.png'], [1, 0], [0], [1, 1]]);
  t.same([set.train.samples[0]!.path, set.train.samples[0]!.box, set.train.samples[1]!.box],
    [join(dir, 'a 1.png'), { x0: 1, y0: 2, x1: 5, y1: 7.5 }, undefined]);
  t.equal(set.test.samples[0]!.path, join(dir, 'c.png'), 'an absolute path');
});

t.test('the first line says what separates cells; the other signs may stand in a path or a label', async (t) => {
  const dir = scratch(t);
  const names = ['a;1.png', 'b\t2.png', 'c,3.png'];
  pictures(dir, ...names);
  const rows = (sign: string, quoted: number): string =>
    names.map((name, i) => [i === quoted ? `"${name}"` : name, i % 2 ? 'crow' : 'wren; house', i === 2 ? 'test' : 'train'].join(sign) + '\n').join('');
  for (const [sign, header, cells] of [[',', 'path,label,split\n', rows(',', 2)], ['\t', '"path"\t"label"\tsplit\n', rows('\t', 1)],
    [';', '\ufeff\npath;label;split\n', rows(';', 0).replace(/wren; house/g, '"wren; house"')]]) {
    const set = await open('csv', write(join(dir, 't.csv'), header! + cells!));
    t.same([ids(set.train), ids(set.test), set.classes], [names.slice(0, 2), names.slice(2), ['crow', 'wren; house']], JSON.stringify(sign));
  }
});

t.test('without a column for parts a fifth is set aside, and said so', async (t) => {
  const dir = scratch(t);
  const names = Array.from({ length: 20 }, (_, i) => `${i}.png`);
  pictures(dir, ...names);
  const table = write(join(dir, 't.tsv'), `path\tlabel\n${names.map((name, i) => `${name}\t${i % 2 ? 'b' : 'a'}`).join('\n')}\n`);
  const set = await open('csv', table);
  t.same([set.train.samples.length, labels(set.test).sort()], [16, [0, 0, 1, 1]]);
  t.match(set.notes.join(), /t\.tsv has no column "split": 4 of 20 pictures were set aside for testing \(seed \d+\)/);
});

t.test('without pictures for testing, those of the validation part are tested on', async (t) => {
  const dir = scratch(t);
  pictures(dir, 'a.png', 'b.png', 'c.png');
  const set = await open('csv', write(join(dir, 't.csv'), 'path,label,split\na.png,wren,train\nb.png,crow,train\nc.png,crow,valid\n'));
  t.same([ids(set.train), ids(set.test), set.val], [['a.png', 'b.png'], ['c.png'], undefined]);
});

t.test('a part for validation: what is missing of it, and a share that takes its place', async (t) => {
  const dir = scratch(t);
  const names = Array.from({ length: 18 }, (_, i) => `${i}.png`);
  pictures(dir, ...names, 'v.png', 't.png');
  const rows = names.map((name, i) => `${name},${i % 2 ? 'b' : 'a'},train\n`).join('');
  const table = write(join(dir, 't.csv'), `path,label,split\n${rows}gone.png,a,val\nv.png,a,val\nt.png,b,test\n`);
  t.same(ids((await open('csv', table, { skipBadImages: true })).val!), ['v.png']);
  const { train, val } = await open('csv', table, { skipBadImages: true, valFraction: 0.2 });
  t.same([ids(train).length + ids(val!).length, labels(val!).sort()], [19, [0, 0, 1, 1]], 'of ten and of nine pictures two each, out of both parts');
  t.match(await refusal('csv', write(table, 'path,label,split\n0.png,a,train\n1.png,a,train\n2.png,b,test\n')),
    /all 2 training images of table .*t\.csv are of one class \("a"\); a classifier needs at least two/);
});

t.test('a box outside its picture is named once with file and line', async (t) => {
  const dir = scratch(t);
  pictures(dir, 'a.png', 'b.png', 'c.png', 'd.png');
  const table = write(join(dir, 'x.csv'),
    'path,label,split,x0,y0,x1,y1\na.png,wren,train,,,,\nb.png,crow,train,,,,\nc.png,wren,test,12,0,20,4\nd.png,crow,test,0,0,20,4\n');
  const data = await openData(configOf('--dataset', 'csv', '--data', table), { workers: 0, cacheMegabytes: 0 });
  const warnings = t.capture(console, 'warn');
  for (let epoch = 0; epoch < 2; epoch++) {
    for await (const { boxes } of data.loader(data.dataset.test, { batchSize: 2, shuffle: false }).epoch(0)) t.same(boxes.map(Boolean), [false, true]);
  }
  t.same(warnings().map(({ args }) => args), [[`ignored: ${table}:4: the box lies outside its picture ${join(dir, 'c.png')}`]]);
  await data.close();
});

t.test('unreadable pictures are named once, a few of them, and that there are more is said', async (t) => {
  const dir = scratch(t);
  pictures(dir, 'a.png', 'b.png', 'd.png');
  const broken = Array.from({ length: 8 }, (_, i) => `${i}.png`);
  for (const name of broken) write(join(dir, name), 'no picture');
  const table = write(join(dir, 'x.csv'),
    `path,label,split\na.png,wren,train\nb.png,crow,train\n${broken.map((name) => `${name},wren,test\n`).join('')}d.png,crow,test\n`);
  const data = await openData(configOf('--dataset', 'csv', '--data', table, '--skip-bad-images'), { workers: 0, cacheMegabytes: 0 });
  const warnings = t.capture(console, 'warn');
  for (let epoch = 0; epoch < 2; epoch++) {
    for await (const { ids } of data.loader(data.dataset.test, { batchSize: 2, shuffle: false }).epoch(0)) t.same(ids, ['d.png']);
  }
  const said = warnings().map(({ args }) => String(args[0]));
  t.equal(said.length, 6);
  t.equal(said[0], `skipped: image ${join(dir, '0.png')} is not an image (or in a format that is not supported: use JPEG, PNG, GIF, BMP or TIFF)`);
  t.equal(said[5], 'skipped: more of that kind, which are not named');
  t.equal(data.bad.size, 8);
  await data.close();
});

t.test('tables that say too little, or nonsense', async (t) => {
  const dir = scratch(t);
  pictures(dir, 'a.png', 'b.png', 'c.png');
  const said = async (content: string, message: RegExp): Promise<void> => { t.match(await refusal('csv', write(join(dir, 'x.csv'), content)), message); };
  await said('', /x\.csv lists no pictures; its first line names the columns/);
  await said('path,label\n', /x\.csv lists no pictures/);
  await said('a.png,wren\nb.png,crow\n',
    /x\.csv: the first line must name the columns, "path" and "label" at least, as in path,label,split; it names a\.png, wren/);
  await said('path,label,split\na.png,wren,train\nb.png,crow,both\n', /x\.csv:3: split is "both"; use train, val or test/);
  await said('path,label\na.png,wren\nb.png,crow\n',
    /x\.csv has no column "split", and no class has two pictures, so that one could be set aside for testing; add pictures$/);
  await said('path,label,split\na.png,,train\n', /x\.csv:2: label is missing/);
  await said('path,label,x0,y0\na.png,wren,1,2\n', /a box needs four columns, x0, y0, x1 and y1; there are only x0, y0/);
  await said('path,label,x0,y0,x1,y1\na.png,wren,5,2,3,4\n', /x\.csv:2: x0, y0, x1, y1 must be pixels of a box with x0 < x1 and y0 < y1; found 5, 2, 3, 4/);
  for (const box of ['5,2,5,4', '5,2,9,2']) await said(`path,label,x0,y0,x1,y1\na.png,wren,${box}\n`, /must be pixels of a box with x0 < x1 and y0 < y1/);
  await said('path,label,x0,y0,x1,y1\na.png,wren,5,,9,4\n', /found 5, nothing, 9, 4/);
  await said('path,label\n"a.png,wren\n', /x\.csv is no table: Quote Not Closed/);
  await said('path,label,split\na.png,wren,train\nb.png,crow,train\na.png,crow,test\n', /image a\.png is listed twice \(.*x\.csv:2 and .*x\.csv:4\)/);
  await said('path,label,split\na.png,wren,train\nnone.png,crow,train\nc.png,crow,test\n',
    /none\.png \(.*x\.csv:3\)\. Correct the paths, which begin at the table's folder, or pass over/);
  for (const encoding of ['latin1', 'utf16le'] as const) {
    writeFileSync(join(dir, 'x.csv'), Buffer.from('\ufeffpath,label,split\na.png,Rötel,train\n'.slice(encoding === 'latin1' ? 1 : 0), encoding));
    t.match(await refusal('csv', join(dir, 'x.csv')), /x\.csv is no text in UTF-8; save it again in that encoding/, encoding);
  }
  t.match(await refusal('csv', dir), /is a folder; pass the table in it, such as --data .*labels\.csv/);
  t.match(await refusal('csv', join(dir, 'no.csv')), /no\.csv does not exist|no\.csv.*no such file|no\.csv/);
});
