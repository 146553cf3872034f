import type { Device } from '../device/device.js';
import { packParams, PARAM_SLOT_BYTES, type ParamField, type ParamValues } from './params.js';

const SLOTS = 4096;

/**
 * One uniform buffer that holds the parameters of all dispatches. Equal contents share a slot, so a
 * training step, which repeats the same shapes, writes almost nothing after the first time.
 */
export class ParamArena {
  private readonly buffer: GPUBuffer;
  private readonly shadow = new Uint8Array(SLOTS * PARAM_SLOT_BYTES);
  private readonly scratch = new DataView(new ArrayBuffer(PARAM_SLOT_BYTES));
  private readonly words = new Uint16Array(this.scratch.buffer);
  private readonly slots = new Map<string, number>();
  private used = 0;
  private uploaded = 0;
  readonly bindGroup: GPUBindGroup;

  constructor(private readonly device: Device, layout: GPUBindGroupLayout) {
    this.buffer = device.gpu.createBuffer({ label: 'params', size: SLOTS * PARAM_SLOT_BYTES, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
    this.bindGroup = device.gpu.createBindGroup({
      label: 'params', layout, entries: [{ binding: 0, resource: { buffer: this.buffer, size: PARAM_SLOT_BYTES } }],
    });
  }

  get full(): boolean {
    return this.used === SLOTS;
  }

  /** Byte offset of a slot with these values. The arena must not be {@link full}. */
  place(label: string, fields: readonly ParamField[], values: ParamValues): number {
    this.words.fill(0);
    packParams(label, fields, values, this.scratch);
    const last = fields.length ? fields[fields.length - 1]! : null;
    const length = last ? (last.offset + 4 * last.count) / 2 : 0;
    const key = String.fromCharCode(...this.words.subarray(0, length));
    let slot = this.slots.get(key);
    if (slot === undefined) {
      slot = this.used++;
      this.shadow.set(new Uint8Array(this.scratch.buffer), slot * PARAM_SLOT_BYTES);
      this.slots.set(key, slot);
    }
    return slot * PARAM_SLOT_BYTES;
  }

  /** Sends what is new to the adapter; call right before a submit. */
  upload(): void {
    if (this.uploaded === this.used) return;
    const from = this.uploaded * PARAM_SLOT_BYTES;
    this.device.gpu.queue.writeBuffer(this.buffer, from, this.shadow, from, this.used * PARAM_SLOT_BYTES - from);
    this.uploaded = this.used;
  }

  /** Forgets all slots; allowed once the commands that use them were submitted, as later writes are ordered after them. */
  reset(): void {
    this.slots.clear();
    this.used = 0;
    this.uploaded = 0;
  }
}
