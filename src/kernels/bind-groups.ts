import type { Device } from '../device/device.js';
import { hashOf } from './hash.js';
import type { OperandImage } from './operand-images.js';
import type { ParamArena } from './param-arena.js';
import { PARAMS_BINDING } from './params.js';
import type { CompiledKernel } from './pipelines.js';
import type { BufferRange, RecorderStatistics } from './recorder.js';
import { valueAt } from './value-at.js';

/** Images of operands by binding. */
export type Images = Readonly<Record<string, OperandImage>>;

interface Known {
  readonly group: GPUBindGroup;
  /** Of its parameters, in their arena. */
  readonly slot: number;
  /** What {@link BindGroups.describe} says of it: the kernel's number, which tells how many follow, one for the parameters, and those of the bindings. */
  readonly description: readonly number[];
}

const CAP = 16384;
/** Where the numbers of the bindings begin in a description, three for each. */
const OF_BINDINGS = 2;

const beginsWith = (numbers: readonly number[], start: readonly number[]): boolean => {
  for (let i = 0; i < start.length; i++) if (numbers[i] !== start[i]) return false;
  return true;
};

/** Bind groups of buffers, images and parameters by kernel. They are looked up for every dispatch, so by numbers: putting strings together takes longer. */
export class BindGroups {
  /** By hash. */
  private readonly groups = new Map<number, Known[]>();
  private readonly hashesOfBuffer = new Map<number, Set<number>>();
  /** Describes the group that is looked for, with remains of longer ones behind; one array for all, to leave nothing to collect. */
  private readonly wanted: number[] = [];
  private count = 0;

  constructor(
    private readonly device: Device, private readonly arena: Pick<ParamArena, 'resourceOf' | 'resets'>, private readonly statistics: Pick<RecorderStatistics, 'bindGroups'>,
  ) {}

  /** The bind group with the parameters of a slot. */
  get(compiled: CompiledKernel, ranges: Readonly<Record<string, BufferRange>>, images: Images | null, slot: number): GPUBindGroup {
    return this.known(compiled, ranges, images, slot, () => slot).group;
  }

  /** The bind group with a slot of its own, which `take` gives to a new one. */
  withOwnSlot(compiled: CompiledKernel, ranges: Readonly<Record<string, BufferRange>>, images: Images | null, take: () => number): Readonly<Pick<Known, 'group' | 'slot'>> {
    // After the arena's reset the slot is somebody else's.
    return this.known(compiled, ranges, images, -1 - this.arena.resets, take);
  }

  /** A buffer was destroyed: groups naming it go too, and what other buffers note of them, which may live for as long as training does. */
  forgetBuffer(id: number): void {
    for (const hash of this.hashesOfBuffer.get(id) ?? []) {
      for (const { description } of this.groups.get(hash) ?? []) {
        for (const buffer of buffersIn(description)) this.forgetHash(buffer, hash);
        this.count--;
      }
      this.groups.delete(hash);
    }
  }

  private forgetHash(buffer: number, hash: number): void {
    const hashes = this.hashesOfBuffer.get(buffer);
    hashes?.delete(hash);
    if (hashes?.size === 0) this.hashesOfBuffer.delete(buffer);
  }

  /** Three numbers per binding; those of images are below 0, buffers' are not. @returns how many there are */
  private describe(compiled: CompiledKernel, ranges: Readonly<Record<string, BufferRange>>, images: Images | null, parameters: number): number {
    const { wanted } = this;
    const { id, bindings } = compiled;
    wanted[0] = id;
    wanted[1] = parameters;
    let at = OF_BINDINGS;
    for (const { name } of bindings) {
      const image = images?.[name];
      const range = ranges[name] ?? missing(compiled, name);
      wanted[at++] = image ? -image.number : range.buffer.id;
      wanted[at++] = image ? 0 : range.offset;
      wanted[at++] = image ? 0 : range.bytes;
    }
    return at;
  }

  private known(
    compiled: CompiledKernel, ranges: Readonly<Record<string, BufferRange>>, images: Images | null, parameters: number, slot: () => number,
  ): Known {
    const count = this.describe(compiled, ranges, images, parameters);
    const hash = hashOf(this.wanted, count);
    const known = this.groups.get(hash);
    if (known) for (const one of known) if (beginsWith(this.wanted, one.description)) return one;
    return this.create(hash, this.wanted.slice(0, count), compiled, ranges, images, slot());
  }

  private create(
    hash: number, description: readonly number[], { label, layout, bindings }: CompiledKernel,
    ranges: Readonly<Record<string, BufferRange>>, images: Images | null, slot: number,
  ): Known {
    if (this.count >= CAP) this.clear();
    const operands = bindings.map(({ name, index }) => {
      const { buffer, offset, bytes } = ranges[name]!;
      return { binding: index, resource: images?.[name]?.view ?? { buffer: buffer.gpu, offset, size: bytes } };
    });
    const parameters = { binding: PARAMS_BINDING, resource: this.arena.resourceOf(slot) };
    const group = this.device.gpu.createBindGroup({ label, layout, entries: [...operands, parameters] });
    const known = { group, slot, description };
    valueAt(this.groups, hash, () => []).push(known);
    for (const buffer of buffersIn(description)) valueAt(this.hashesOfBuffer, buffer, () => new Set()).add(hash);
    this.count++;
    this.statistics.bindGroups++;
    return known;
  }

  private clear(): void {
    this.groups.clear();
    this.hashesOfBuffer.clear();
    this.count = 0;
  }
}

const missing = ({ label }: CompiledKernel, name: string): never => {
  throw new Error(`${label}: binding "${name}" is missing`);
};

/** The buffers that a description names: the first of each binding's three numbers, unless that is an image. */
const buffersIn = (description: readonly number[]): number[] => description.slice(OF_BINDINGS).filter((number, at) => at % 3 === 0 && number >= 0);
