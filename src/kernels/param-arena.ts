import type { Device } from '../device/device.js';
import { hashOf } from './hash.js';
import { packParams, PARAM_SLOT_BYTES, type ParamField, type ParamValues, paramViews } from './params.js';

const SLOTS = 4096;
const SLOT_WORDS = PARAM_SLOT_BYTES / 4;

/**
 * One uniform buffer that holds the parameters of all dispatches. Equal contents share a slot, so a
 * training step, which repeats the same shapes, writes almost nothing after the first time. What changes from one replay of
 * captured work to the next has slots of its own, which are written anew. Bind groups name slots: with one group for all at
 * dynamic offsets a dispatch takes 20 µs longer on lavapipe.
 */
export class ParamArena {
  private readonly buffer: GPUBuffer;
  private readonly shadow = new Uint32Array(SLOTS * SLOT_WORDS);
  private readonly scratch = paramViews();
  private readonly words = this.scratch.u32;
  /** By hash; contents that share a hash stand at the next free number. */
  private readonly slots = new Map<number, number>();
  private used = 0;
  private uploaded = 0;
  /** Slots of their own that work recorded since the last upload counts on, and those of them that hold something new. */
  private readonly awaited = new Set<number>();
  private changed: number[] = [];
  /** How often all slots were forgotten: bind groups from before mean other contents now. */
  resets = 0;

  constructor(private readonly device: Device) {
    this.buffer = device.gpu.createBuffer({ label: 'params', size: SLOTS * PARAM_SLOT_BYTES, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
  }

  get full(): boolean {
    return this.used === SLOTS;
  }

  /** What a bind group names. */
  resourceOf(slot: number): GPUBufferBinding {
    return { buffer: this.buffer, offset: slot * PARAM_SLOT_BYTES, size: PARAM_SLOT_BYTES };
  }

  /** The slot with these values. The arena must not be {@link full}. */
  place(label: string, fields: readonly ParamField[], values: ParamValues): number {
    const count = packParams(label, fields, values, this.scratch);
    let hash = hashOf(this.words, count);
    let slot = this.slots.get(hash);
    while (slot !== undefined && !this.holds(slot, count)) slot = this.slots.get(++hash);
    if (slot === undefined) {
      slot = this.take(count);
      this.slots.set(hash, slot);
    }
    return slot;
  }

  /** A slot that no other dispatch shares, with these values for now. The arena must not be {@link full}. */
  placeAlone(label: string, fields: readonly ParamField[], values: ParamValues): number {
    const slot = this.take(packParams(label, fields, values, this.scratch));
    this.awaited.add(slot);
    return slot;
  }

  /** Gives a slot of its own other values. @returns false where recorded work waits for those that it has: upload them first */
  replace(slot: number, label: string, fields: readonly ParamField[], values: ParamValues): boolean {
    const count = packParams(label, fields, values, this.scratch);
    if (!this.holds(slot, count)) {
      if (this.awaited.has(slot)) return false;
      this.fill(slot, count);
      this.changed.push(slot);
    }
    this.awaited.add(slot);
    return true;
  }

  /** Sends what is new to the adapter; call right before a submit. */
  upload(): void {
    this.awaited.clear();
    for (const slot of this.changed) this.send(slot, slot + 1);
    if (this.uploaded < this.used) this.send(this.uploaded, this.used);
    this.changed = [];
    this.uploaded = this.used;
  }

  /** Forgets all slots; allowed once the commands that use them were submitted, as later writes are ordered after them. */
  reset(): void {
    this.slots.clear();
    this.used = 0;
    this.uploaded = 0;
    this.resets++;
  }

  private take(count: number): number {
    this.fill(this.used, count);
    return this.used++;
  }

  private fill(slot: number, count: number): void {
    this.shadow.set(this.words.subarray(0, count), slot * SLOT_WORDS);
  }

  /** Whether a slot begins with what is wanted; what lies behind, the kernel does not read. */
  private holds(slot: number, count: number): boolean {
    const from = slot * SLOT_WORDS;
    for (let i = 0; i < count; i++) if (this.shadow[from + i] !== this.words[i]) return false;
    return true;
  }

  private send(from: number, to: number): void {
    this.device.gpu.queue.writeBuffer(this.buffer, from * PARAM_SLOT_BYTES, this.shadow, from * SLOT_WORDS, (to - from) * SLOT_WORDS);
  }
}
