import type { Device } from '../device/device.js';
import { hashOf } from './hash.js';
import { packParams, PARAM_SLOT_BYTES, type ParamField, type ParamValues, paramViews } from './params.js';

const SLOTS = 4096;
const SLOT_WORDS = PARAM_SLOT_BYTES / 4;

/**
 * One uniform buffer that holds the parameters of all dispatches. Equal contents share a slot, so a
 * training step, which repeats the same shapes, writes almost nothing after the first time. Each slot has a bind
 * group of its own: with one group at dynamic offsets a dispatch takes 20 µs longer on lavapipe.
 */
export class ParamArena {
  private readonly buffer: GPUBuffer;
  private readonly shadow = new Uint32Array(SLOTS * SLOT_WORDS);
  private readonly scratch = paramViews();
  private readonly words = this.scratch.u32;
  /** By hash; contents that share a hash stand at the next free number. */
  private readonly slots = new Map<number, number>();
  private readonly groups: GPUBindGroup[] = [];
  private used = 0;
  private uploaded = 0;
  /** How often all slots were forgotten: bind groups from before mean other contents now. */
  resets = 0;

  constructor(private readonly device: Device, private readonly layout: GPUBindGroupLayout) {
    this.buffer = device.gpu.createBuffer({ label: 'params', size: SLOTS * PARAM_SLOT_BYTES, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
  }

  get full(): boolean {
    return this.free === 0;
  }

  /** Slots that can still be filled. */
  get free(): number {
    return SLOTS - this.used;
  }

  /** Bind group of a slot with these values. The arena must not be {@link full}. */
  place(label: string, fields: readonly ParamField[], values: ParamValues): GPUBindGroup {
    const count = packParams(label, fields, values, this.scratch);
    let hash = hashOf(this.words, count);
    let slot = this.slots.get(hash);
    while (slot !== undefined && !this.holds(slot, count)) slot = this.slots.get(++hash);
    if (slot === undefined) {
      slot = this.used++;
      this.shadow.set(this.words.subarray(0, count), slot * SLOT_WORDS);
      this.slots.set(hash, slot);
    }
    return this.groups[slot] ??= this.bind(slot);
  }

  /** Sends what is new to the adapter; call right before a submit. */
  upload(): void {
    if (this.uploaded === this.used) return;
    const from = this.uploaded * SLOT_WORDS;
    this.device.gpu.queue.writeBuffer(this.buffer, from * 4, this.shadow, from, this.used * SLOT_WORDS - from);
    this.uploaded = this.used;
  }

  /** Whether a slot begins with what is wanted; what lies behind, the kernel does not read. */
  private holds(slot: number, count: number): boolean {
    const from = slot * SLOT_WORDS;
    for (let i = 0; i < count; i++) if (this.shadow[from + i] !== this.words[i]) return false;
    return true;
  }

  private bind(slot: number): GPUBindGroup {
    const resource = { buffer: this.buffer, offset: slot * PARAM_SLOT_BYTES, size: PARAM_SLOT_BYTES };
    return this.device.gpu.createBindGroup({ label: 'params', layout: this.layout, entries: [{ binding: 0, resource }] });
  }

  /** Forgets all slots; allowed once the commands that use them were submitted, as later writes are ordered after them. */
  reset(): void {
    this.slots.clear();
    this.used = 0;
    this.uploaded = 0;
    this.resets++;
  }
}
