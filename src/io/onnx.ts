/**
 * ONNX models as bytes. The messages and field numbers are those of the ONNX specification (onnx.proto), as far as a network in
 * evaluation needs them.
 */
import protobuf from 'protobufjs/light.js';

interface OnnxAttribute {
  readonly name: string;
  readonly type: number;
  readonly f?: number;
  readonly i?: number;
  readonly s?: Uint8Array;
  readonly ints?: readonly number[];
}

export interface OnnxNode {
  readonly opType: string;
  readonly name: string;
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly attribute: readonly OnnxAttribute[];
}

export interface OnnxTensor {
  readonly name: string;
  readonly dims: readonly number[];
  readonly dataType: number;
  /** Little-endian elements in row-major order. */
  readonly rawData: Uint8Array;
}

/** Name and shape of an input or output; a text stands for a size that may vary. */
interface OnnxValue {
  readonly name: string;
  readonly shape: readonly (number | string)[];
}

interface OnnxModel {
  readonly producer: string;
  readonly opset: number;
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxTensor[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly metadata: Readonly<Record<string, string>>;
}

export const FLOAT = 1;
export const INT64 = 7;
const ATTRIBUTE = { float: 1, int: 2, string: 3, ints: 7 } as const;

const one = (type: string, id: number): protobuf.IField => ({ type, id });
const many = (type: string, id: number): protobuf.IField & { rule: string } => ({ rule: 'repeated', type, id });

const schema = protobuf.Root.fromJSON({
  nested: {
    Model: { fields: { irVersion: one('int64', 1), producerName: one('string', 2), graph: one('Graph', 7), opsetImport: many('Opset', 8), metadataProps: many('Entry', 14) } },
    Opset: { fields: { domain: one('string', 1), version: one('int64', 2) } },
    Entry: { fields: { key: one('string', 1), value: one('string', 2) } },
    Graph: { fields: { node: many('Node', 1), name: one('string', 2), initializer: many('Tensor', 5), input: many('ValueInfo', 11), output: many('ValueInfo', 12) } },
    Node: { fields: { input: many('string', 1), output: many('string', 2), name: one('string', 3), opType: one('string', 4), attribute: many('Attribute', 5) } },
    Attribute: { fields: { name: one('string', 1), f: one('float', 2), i: one('int64', 3), s: one('bytes', 4), ints: many('int64', 8), type: one('int32', 20) } },
    Tensor: { fields: { dims: many('int64', 1), dataType: one('int32', 2), name: one('string', 8), rawData: one('bytes', 9) } },
    ValueInfo: { fields: { name: one('string', 1), type: one('Type', 2) } },
    Type: { fields: { tensorType: one('TensorType', 1) } },
    TensorType: { fields: { elemType: one('int32', 1), shape: one('Shape', 2) } },
    Shape: { fields: { dim: many('Dimension', 1) } },
    Dimension: { fields: { dimValue: one('int64', 1), dimParam: one('string', 2) } },
  },
});

/** Version of the file format that opset 13 came with. */
const IR_VERSION = 7;

/** An attribute from a plain value: whole numbers become integers, so that a float that happens to be whole must be wrapped. */
export const attributeOf = (name: string, value: AttributeValue): OnnxAttribute => {
  if (typeof value === 'number') return { name, type: ATTRIBUTE.int, i: value };
  if (typeof value === 'string') return { name, type: ATTRIBUTE.string, s: Buffer.from(value) };
  if ('float' in value) return { name, type: ATTRIBUTE.float, f: value.float };
  return { name, type: ATTRIBUTE.ints, ints: value };
};

export type AttributeValue = number | string | readonly number[] | { readonly float: number };

const valueInfo = ({ name, shape }: OnnxValue) => ({
  name, type: { tensorType: { elemType: FLOAT, shape: { dim: shape.map((size) => (typeof size === 'string' ? { dimParam: size } : { dimValue: size })) } } },
});

/** The bytes of an `.onnx` file. */
export const encodeOnnx = ({ producer, opset, name, nodes, initializers, inputs, outputs, metadata }: OnnxModel): Uint8Array => schema.lookupType('Model').encode({
  irVersion: IR_VERSION, producerName: producer, opsetImport: [{ domain: '', version: opset }],
  metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
  graph: { name, node: nodes, initializer: initializers, input: inputs.map(valueInfo), output: outputs.map(valueInfo) },
}).finish();
