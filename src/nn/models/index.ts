import { fail } from '../../errors.js';
import type { Backbone, BackboneOptions, BackboneRecord } from './backbone.js';
import * as families from './families.js';

type NamesOf<Family> = Family extends unknown ? keyof Family : never;
export type BackboneName = NamesOf<(typeof families)[keyof typeof families]>;

/** Backbones by name. */
const backbones = Object.assign({}, ...Object.values(families)) as Readonly<Record<BackboneName, BackboneRecord>>;
export const backboneNames = Object.keys(backbones) as BackboneName[];

export const backboneRecord = (name: string): BackboneRecord =>
  name in backbones ? backbones[name as BackboneName] : fail(`unknown model "${name}"; known: ${backboneNames.join(', ')}`);

/** Builds a backbone with fresh weights. */
export const createBackbone = (name: string, { bnMomentum = 0.1, transformInput = false }: Partial<BackboneOptions> = {}): Backbone => {
  const { create, transformsInput } = backboneRecord(name);
  if (transformInput && !transformsInput) fail(`model "${name}": the input transform belongs to Inception's weights; leave it out`);
  return create({ bnMomentum, transformInput });
};
