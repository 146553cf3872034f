import type { DatasetName } from '../data/dataset.js';
import { kebab } from './options/config-values.js';

/** Defaults that depend on the data set; options given explicitly win. Names are those of the options. */
interface Preset {
  readonly model: string;
  readonly imageSize: number;
  readonly attentions: number;
  readonly batchSize: number;
  readonly epochs: number;
  readonly lr: number;
  readonly weightDecay: number;
  readonly schedule: 'step' | 'cosine' | 'constant';
  readonly evalEvery: number;
  readonly [option: string]: unknown;
}

/**
 * Without pretrained weights the published scale of 100 learns nothing, and maps settle on the border. Sides of 8n + 1 pixels put the
 * cells of a stride-8 map exactly where aligned corners look for them.
 */
const fromScratch = { scale: 10, attentionRim: 1, optimizer: 'adamw', lr: 0.005, weightDecay: 0.02, warmupEpochs: 0.5, cropTheta: [0.2, 0.5], testTheta: 0.25 };

/** The published recipe (GuYuc): 448 px, batch 12, 160 epochs, × 0.9 every 2 epochs. */
const published: Preset = {
  model: 'inception_mixed_6e', imageSize: 448, attentions: 32, batchSize: 12, epochs: 160, lr: 1e-3, weightDecay: 1e-5, schedule: 'step', evalEvery: 1,
};

/** Somebody's own pictures, and no pretrained weights to start from. */
const own: Preset = { ...fromScratch, model: 'resnet18', imageSize: 225, attentions: 32, batchSize: 16, epochs: 60, schedule: 'cosine', evalEvery: 1, centerWeight: 0.1 };

export const presets: Readonly<Record<DatasetName, Preset>> = {
  synthetic: {
    ...fromScratch, model: 'resnet_small', imageSize: 65, attentions: 32, batchSize: 16, epochs: 10, schedule: 'step', lrStep: 1, lrGamma: 0.87, evalEvery: 2,
  },
  aircraft: published,
  cub: published,
  cars: published,
  /** Dogs are trained ten times slower, with the last block, whose first feature channels are the maps. */
  dogs: { ...published, model: 'inception_mixed_7c', lr: 1e-4 },
  folder: own,
  csv: own,
};

/** What each preset sets, as options on a command line, with the data sets that share it. */
export const presetLines = (): string[] => {
  const shared = new Map<string, string[]>();
  for (const [dataset, preset] of Object.entries(presets)) {
    const options = Object.entries(preset).map(([name, value]) => `--${kebab(name)} ${String(value)}`).join(' ');
    shared.set(options, [...(shared.get(options) ?? []), dataset]);
  }
  return Array.from(shared, ([options, names]) => `${names.join(', ')}: ${options}`);
};
