import type { Sample, Split } from '../data/dataset.js';
import type { Batch } from '../data/loader.js';
import { fail } from '../errors.js';
import type { Runtime } from '../kernels/runtime.js';
import { scope } from '../tensor/scope.js';
import type { Tensor, TypedArray } from '../tensor/tensor.js';
import type { Prediction } from '../wsdan/localise.js';
import type { TrainConfig } from './config.js';
import { visibleBox } from './evaluate.js';
import { evalTransforms, uploadImages } from './image-batch.js';
import { boxAt, intersectionOverUnion } from './localisation.js';
import type { Evaluated, Method } from './method.js';
import type { AttentionMap, ImageCase, Picture } from './report/types.js';
import { topGuesses } from './predict.js';
import type { DataSession } from './session.js';

const SHOWN_MAPS = 8;

/** Everything a prediction holds, on the host. */
interface HostPrediction {
  readonly size: number;
  readonly maps: { readonly shape: readonly number[]; readonly data: TypedArray };
  readonly mean: TypedArray;
  readonly boxes: TypedArray;
  readonly raw: TypedArray;
  readonly refined: TypedArray;
  readonly images: TypedArray;
  readonly dropped: TypedArray | null;
}

const hasAttention = (result: Evaluated): result is Prediction => result.maps !== undefined;

const toHost = async (images: Tensor, p: Prediction): Promise<HostPrediction> => ({
  size: images.shape[1]!, images: await images.data(), maps: { shape: p.maps.shape, data: await p.maps.data() }, mean: await p.meanMap.data(),
  boxes: await p.boxes.data(), raw: await p.raw.data(), refined: await p.refined.data(), dropped: p.dropped ? await p.dropped.data() : null,
});

/** A row of the network's input as a picture again. */
export const inputPicture = (images: TypedArray, row: number, size: number, { mean, std }: Pick<TrainConfig['augment'], 'mean' | 'std'>): Picture => {
  const rgba = new Uint8Array(size * size * 4).fill(255);
  for (let i = 0; i < size * size; i++) {
    for (let c = 0; c < 3; c++) rgba[i * 4 + c] = Math.max(0, Math.min(255, Math.round(255 * (images[(row * size * size + i) * 3 + c]! * std[c]! + mean[c]!))));
  }
  return { width: size, height: size, rgba };
};

const mapOf = ({ maps: { shape, data } }: HostPrediction, row: number, map: number): AttentionMap => {
  const [, height, width, count] = shape as [number, number, number, number];
  return { height, width, data: Float32Array.from({ length: height * width }, (_, i) => data[(row * height * width + i) * count + map]!) };
};

const meanMapOf = ({ mean, maps: { shape } }: HostPrediction, row: number): AttentionMap => {
  const [, height, width] = shape as [number, number, number, number];
  return { height, width, data: mean.subarray(row * height * width, (row + 1) * height * width) };
};

/** The maps with the most mass in a row: dead maps show nothing. */
const strongestMaps = (host: HostPrediction, row: number): AttentionMap[] => {
  const maps = Array.from({ length: host.maps.shape[3]! }, (_, m) => mapOf(host, row, m));
  const mass = (map: AttentionMap): number => Array.from(map.data).reduce((sum, v) => sum + v, 0);
  return maps.sort((a, b) => mass(b) - mass(a)).slice(0, SHOWN_MAPS);
};

/** Predicts one batch and describes each image for the report; coordinates are pixels of the network's input. */
export const describeBatch = async (runtime: Runtime, method: Method, batch: Batch, config: TrainConfig, classes: readonly string[]): Promise<ImageCase[]> => {
  const transforms = evalTransforms(config.augment, batch.images);
  const host = await scope(async () => {
    const images = uploadImages(runtime, batch.images, transforms, config.augment);
    const result = method.evaluate(images, true);
    return hasAttention(result) ? toHost(images, result) : fail('a plain classifier has no attention to describe');
  });
  return batch.ids.map((name, row) => {
    const cropBox = boxAt(host.boxes, row);
    const truth = batch.boxes[row];
    const trueBox = truth && visibleBox(truth, transforms[row]!, host.size);
    return {
      name, image: inputPicture(host.images, row, host.size, config.augment), trueLabel: classes[batch.labels[row]!] ?? '',
      cropBox, meanMap: meanMapOf(host, row), maps: strongestMaps(host, row),
      rawTop: topGuesses(host.raw, row, classes), refinedTop: topGuesses(host.refined, row, classes),
      ...(trueBox ? { trueBox, iou: intersectionOverUnion(cropBox, trueBox) } : {}),
      ...(host.dropped ? { dropped: inputPicture(host.dropped, row, host.size, config.augment) } : {}),
    };
  });
};

/** The same number of images of each class, in the order of the split. */
const balanced = (split: Split, count: number): Sample[] => {
  const perClass = new Map<number, number>();
  const rounds = split.samples.map((sample) => {
    const round = perClass.get(sample.label) ?? 0;
    perClass.set(sample.label, round + 1);
    return { sample, round };
  });
  return rounds.sort((a, b) => a.round - b.round).slice(0, count).map(({ sample }) => sample);
};

/** Some test images with all that the network made of them. */
export const reportCases = async (runtime: Runtime, data: DataSession, method: Method, config: TrainConfig, count: number): Promise<ImageCase[]> => {
  if (count === 0 || !method.centers) return [];
  const loader = data.loader({ samples: balanced(data.dataset.test, count) }, { batchSize: Math.min(count, config.evalBatchSize), shuffle: false });
  const cases: ImageCase[] = [];
  for await (const batch of loader.epoch(0)) cases.push(...await describeBatch(runtime, method, batch, config, data.dataset.classes));
  return cases;
};
