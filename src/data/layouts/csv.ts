import { isUtf8 } from 'node:buffer';
import { dirname, isAbsolute, resolve } from 'node:path';
import { CsvError, parse } from 'csv-parse/sync';
import { fail } from '../../errors.js';
import { byCodeUnit, isFolder, readBytes } from '../list-file.js';
import { type Entry, type Listing, PART_NAMES, splitByChance, type TrueBox } from '../split.js';

/** Names of columns, in any case; the first that is there counts. */
const PATH = ['path', 'file', 'filename', 'filepath', 'image', 'image_path'];
const LABEL = ['label', 'class', 'category', 'species'];
const SPLIT = ['split', 'set', 'subset'];
const BOX = [['x0', 'xmin'], ['y0', 'ymin'], ['x1', 'xmax'], ['y1', 'ymax']];

interface Row {
  readonly where: string;
  readonly cells: Readonly<Record<string, string>>;
}

/**
 * Pictures listed in a table: a CSV file (or one with semicolons or tabs) whose first line names the columns. `path` and `label` are
 * needed; `split` (train, val, test) decides what a picture is for, else a fifth of each class is set aside for testing; `x0, y0, x1, y1`
 * (or `xmin` …), half-open and in pixels, measure localisation. Paths are relative to the table. Classes are the labels in code-unit order.
 */
export const readCsv = (file: string | undefined, seed: number): Listing => {
  if (!file) return fail('the data set csv needs a table: pass --data FILE.csv');
  if (isFolder(file)) return fail(`${file} is a folder; pass the table in it, such as --data ${file}/labels.csv`);
  const rows = readRows(file);
  const columns = columnsOf(file, rows[0]!);
  const classes = [...new Set(rows.map(({ cells }) => cells[columns.label]!))].sort(byCodeUnit);
  const labels = new Map(classes.map((name, i) => [name, i]));
  const entries = rows.map((row) => ({ split: splitOf(row, columns.split), entry: entryOf(row, columns, dirname(file), labels) }));
  const name = `table ${file}`;
  if (!columns.split) {
    const { note, ...parts } = splitByChance(entries.map(({ entry }) => entry), seed, `${file} has no column "split"`);
    return { name, classes, ...parts, notes: [note] };
  }
  const [train, val, test] = ['train', 'val', 'test'].map((part) => entries.filter(({ split }) => split === part).map(({ entry }) => entry)) as [Entry[], Entry[], Entry[]];
  return { name, classes, train, ...(test.length ? { test, ...(val.length ? { val } : {}) } : { test: val }) };
};

interface Parsed {
  readonly record: Readonly<Record<string, string>>;
  readonly info: { readonly lines: number };
}

const readRows = (file: string): Row[] => {
  const bytes = readBytes(file, 'check --data');
  // Read as text all the same, other letters than English ones would be others, in paths and in the names of classes.
  if (!isUtf8(bytes)) fail(`${file} is no text in UTF-8; save it again in that encoding (in Excel: "CSV UTF-8")`);
  const text = bytes.toString('utf8');
  const delimiter = delimiterOf(text);
  try {
    const columns = (names: string[]): string[] => names.map((name) => name.toLowerCase());
    const parsed = parse(text, { bom: true, columns, delimiter, info: true, skip_empty_lines: true, trim: true }) as unknown as Parsed[];
    if (parsed.length === 0) fail(`${file} lists no pictures; its first line names the columns, such as path,label,split, and each further one is a picture`);
    return parsed.map(({ record, info }) => ({ where: `${file}:${info.lines}`, cells: record }));
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const remedy = error.code === 'CSV_RECORD_INCONSISTENT_COLUMNS' ? `; each line needs as many cells as the first, and quotes around a text with ${delimiter === '\t' ? 'a tab' : `"${delimiter}"`} in it` : '';
    return fail(`${file} is no table: ${error.message}${remedy}`);
  }
};

/** What separates the names in the first line. The others separate nothing then: they may stand in a path or a label. */
const delimiterOf = (text: string): string => {
  const header = text.trimStart().split(/[\r\n]/, 1)[0]!.replace(/"[^"]*"/g, '');
  const count = (sign: string): number => header.split(sign).length;
  return [';', '\t'].reduce((most, sign) => (count(sign) > count(most) ? sign : most), ',');
};

interface Columns {
  readonly path: string;
  readonly label: string;
  readonly split: string | undefined;
  /** All four, or none. */
  readonly box: readonly string[];
}

const columnsOf = (file: string, { cells }: Row): Columns => {
  const named = (names: readonly string[]): string | undefined => names.find((name) => name in cells);
  const [path, label] = [named(PATH), named(LABEL)];
  if (!path || !label) return fail(`${file}: the first line must name the columns, "path" and "label" at least, as in path,label,split; it names ${Object.keys(cells).join(', ')}`);
  const box = BOX.flatMap((names) => named(names) ?? []);
  if (box.length % BOX.length !== 0) fail(`${file}: a box needs four columns, x0, y0, x1 and y1; there are only ${box.join(', ')}`);
  return { path, label, split: named(SPLIT), box };
};

const splitOf = ({ where, cells }: Row, column: string | undefined): string | undefined => {
  if (!column) return undefined;
  const word = cells[column]!.toLowerCase();
  return Object.entries(PART_NAMES).find(([, words]) => words.includes(word))?.[0] ?? fail(`${where}: ${column} is "${cells[column]!}"; use train, val or test`);
};

const boxOf = ({ where, cells }: Row, columns: readonly string[]): TrueBox | undefined => {
  if (columns.every((name) => !cells[name])) return undefined;
  const [x0, y0, x1, y1] = columns.map((name) => (cells[name] === '' ? NaN : Number(cells[name]))) as [number, number, number, number];
  if (!(x0 >= 0 && y0 >= 0 && x1 > x0 && y1 > y0 && x1 < Infinity && y1 < Infinity)) fail(`${where}: ${columns.join(', ')} must be pixels of a box with x0 < x1 and y0 < y1; found ${columns.map((name) => cells[name] || 'nothing').join(', ')}`);
  return { box: { x0, y0, x1, y1 }, boxFrom: where };
};

const entryOf = (row: Row, { path, label, box }: Columns, folder: string, labels: ReadonlyMap<string, number>): Entry => {
  const { where, cells } = row;
  const [id, name] = [cells[path]!, cells[label]!];
  if (!id || !name) fail(`${where}: ${id ? label : path} is missing`);
  return { id, label: labels.get(name)!, path: isAbsolute(id) ? id : resolve(folder, id), where, ...(box.length ? boxOf(row, box) : {}) };
};
