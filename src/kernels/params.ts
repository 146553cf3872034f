/** A member of a shader's `struct Params`. */
export interface ParamField {
  readonly name: string;
  readonly type: 'u32' | 'i32' | 'f32';
  /** 1, or 4 for a vec4. */
  readonly count: 1 | 4;
  /** Byte offset by WGSL's uniform layout rules. */
  readonly offset: number;
}

export type ParamValues = Readonly<Record<string, number | readonly number[]>>;

/** Bytes of a slot of the uniform arena: WebGPU's largest minimum alignment of dynamic offsets. */
export const PARAM_SLOT_BYTES = 256;

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

/** Writes values by member name; every member must be given, and nothing else. @returns the number of words written, gaps included */
export const packParams = (label: string, fields: readonly ParamField[], values: ParamValues, out: DataView): number => {
  let end = 0;
  for (const field of fields) {
    const value = values[field.name];
    if (value === undefined) throw new Error(`${label}: parameter ${field.name} is missing`);
    if (typeof value === 'number') writeScalar(out, field, field.offset, value);
    else for (let i = 0; i < field.count; i++) writeScalar(out, field, field.offset + 4 * i, value[i] ?? 0);
    end = field.offset + 4 * field.count;
  }
  let given = 0;
  for (const _ in values) given++;
  if (given !== fields.length) {
    const known = new Set(fields.map((f) => f.name));
    throw new Error(`${label}: unknown parameter ${Object.keys(values).filter((k) => !known.has(k)).join(', ')}`);
  }
  return end / 4;
};

const writeScalar = (out: DataView, field: ParamField, offset: number, value: number): void => {
  if (field.type === 'f32') out.setFloat32(offset, value, true);
  else if (field.type === 'i32') out.setInt32(offset, value, true);
  else out.setUint32(offset, value, true);
};
