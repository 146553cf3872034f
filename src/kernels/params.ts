/** A member of a shader's `struct Params`. */
export interface ParamField {
  readonly name: string;
  readonly type: 'u32' | 'i32' | 'f32';
  /** 1, or 4 for a vec4. */
  readonly count: 1 | 4;
  /** Byte offset by WGSL's uniform layout rules. */
  readonly offset: number;
}

/** A number that JavaScript may change between two replays of captured work: a learning rate, a random key. */
export interface Live {
  readonly value: number;
}

export const liveNumber = (current: () => number): Live => ({ get value() { return current(); } });

/** The number as it is now. */
export const numberOf = (number: number | Live): number => (typeof number === 'number' ? number : number.value);

export type ParamValues = Readonly<Record<string, number | readonly number[] | Live>>;

/** Whether any of the values may change. Runs for every dispatch. */
export const hasLive = (values: ParamValues): boolean => {
  for (const name in values) {
    const value = values[name]!;
    if (typeof value === 'object' && 'value' in value) return true;
  }
  return false;
};

/** Bytes of a slot of the uniform arena: WebGPU's largest minimum alignment of uniform buffers' offsets. */
export const PARAM_SLOT_BYTES = 256;

/** Where shaders declare their parameters, behind all other bindings: a second bind group would cost each dispatch another call. */
export const PARAMS_BINDING = 31;

const SCALARS: Record<string, ParamField['type']> = { u32: 'u32', i32: 'i32', f32: 'f32' };
const VECTORS: Record<string, ParamField['type']> = { vec4u: 'u32', vec4i: 'i32', vec4f: 'f32' };

/** Reads the members of `struct Params { … }`; an absent struct has none. */
export const parseParams = (source: string): ParamField[] => {
  const body = /struct Params\s*\{([^}]*)\}/.exec(source.replace(/\/\/[^\n]*/g, ''))?.[1];
  if (body === undefined) return [];
  const fields: ParamField[] = [];
  let offset = 0;
  for (const [, name, type] of body.matchAll(/(\w+)\s*:\s*(\w+)/g)) {
    const vector = VECTORS[type!];
    const scalar = SCALARS[type!];
    if (!vector && !scalar) throw new Error(`struct Params: member ${name} has type ${type}; use u32, i32, f32 or a vec4 of them`);
    if (vector) offset = Math.ceil(offset / 16) * 16;
    fields.push({ name: name!, type: (vector ?? scalar)!, count: vector ? 4 : 1, offset });
    offset += vector ? 16 : 4;
  }
  if (offset > PARAM_SLOT_BYTES) throw new Error(`struct Params has ${offset} bytes; at most ${PARAM_SLOT_BYTES} fit`);
  return fields;
};

/** Views on the bytes of one slot, by the type of a member. */
interface ParamViews {
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly f32: Float32Array;
}

export const paramViews = (): ParamViews => {
  const bytes = new ArrayBuffer(PARAM_SLOT_BYTES);
  return { u32: new Uint32Array(bytes), i32: new Int32Array(bytes), f32: new Float32Array(bytes) };
};

/** Refuses values for names that the struct does not have. What is missing {@link packParams} finds by itself. */
export const checkParams = (label: string, fields: readonly ParamField[], values: ParamValues): void => {
  const known = new Set(fields.map((f) => f.name));
  const unknown = Object.keys(values).filter((name) => !known.has(name));
  if (unknown.length) throw new Error(`${label}: unknown parameter ${unknown.join(', ')}`);
};

/** Writes values by member name, and zeros in the gaps between them; every member must be given. @returns the number of words written */
export const packParams = (label: string, fields: readonly ParamField[], values: ParamValues, out: ParamViews): number => {
  let end = 0;
  for (const { name, type, count, offset } of fields) {
    const value = values[name];
    if (value === undefined) throw new Error(`${label}: parameter ${name} is missing`);
    const view = out[type];
    const word = offset / 4;
    while (end < word) out.u32[end++] = 0;
    if (typeof value === 'number') view[word] = value;
    else if ('value' in value) view[word] = value.value;
    else for (let i = 0; i < count; i++) view[word + i] = value[i] ?? 0;
    end = word + count;
  }
  return end;
};
