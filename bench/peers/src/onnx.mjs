// ONNX models of one node, so that ONNX Runtime can be timed on the same operations. The messages are the part of the
// public ONNX schema that such models need.
import protobuf from 'protobufjs';

const field = (type, id, rule) => ({ type, id, ...(rule ? { rule } : {}) });
const repeated = (type, id) => field(type, id, 'repeated');

const { ModelProto } = protobuf.Root.fromJSON({
  nested: {
    ModelProto: { fields: { irVersion: field('int64', 1), graph: field('GraphProto', 7), opsetImport: repeated('OperatorSetIdProto', 8) } },
    OperatorSetIdProto: { fields: { domain: field('string', 1), version: field('int64', 2) } },
    GraphProto: {
      fields: { node: repeated('NodeProto', 1), name: field('string', 2), initializer: repeated('TensorProto', 5), input: repeated('ValueInfoProto', 11), output: repeated('ValueInfoProto', 12) },
    },
    NodeProto: { fields: { input: repeated('string', 1), output: repeated('string', 2), opType: field('string', 4), attribute: repeated('AttributeProto', 5) } },
    AttributeProto: { fields: { name: field('string', 1), i: field('int64', 3), s: field('bytes', 4), ints: { ...repeated('int64', 8), options: { packed: false } }, type: field('int32', 20) } },
    TensorProto: { fields: { dims: { ...repeated('int64', 1), options: { packed: false } }, dataType: field('int32', 2), name: field('string', 8), rawData: field('bytes', 9) } },
    ValueInfoProto: { fields: { name: field('string', 1), type: field('TypeProto', 2) } },
    TypeProto: { fields: { tensorType: field('TensorType', 1) } },
    TensorType: { fields: { elemType: field('int32', 1), shape: field('ShapeProto', 2) } },
    ShapeProto: { fields: { dim: repeated('Dimension', 1) } },
    Dimension: { fields: { dimValue: field('int64', 1) } },
  },
}).nested;

const ELEMENTS = { Float32Array: 1, BigInt64Array: 7 };
const [ATTRIBUTE_INT, ATTRIBUTE_STRING, ATTRIBUTE_INTS] = [2, 3, 7];
const IR_VERSION = 8;
const OPSET = 17;

const attribute = ([name, value]) => {
  if (typeof value === 'string') return { name, s: Buffer.from(value), type: ATTRIBUTE_STRING };
  return Array.isArray(value) ? { name, ints: value, type: ATTRIBUTE_INTS } : { name, i: value, type: ATTRIBUTE_INT };
};

const valueInfo = (name, shape) =>
  ({ name, type: { tensorType: { elemType: ELEMENTS.Float32Array, shape: { dim: shape.map((dimValue) => ({ dimValue })) } } } });

const initializer = ([name, { shape, data }]) => ({
  name, dims: shape, dataType: ELEMENTS[data.constructor.name], rawData: Buffer.from(data.buffer, data.byteOffset, data.byteLength),
});

/**
 * @param {{op: string, attributes: object, operands: string[]}} node operands in order; '' leaves one out
 * @param {Record<string, number[]>} inputs shapes of what is fed
 * @param {Record<string, {shape: number[], data: ArrayBufferView}>} constants
 * @param {number[]} output shape of the result `y`
 */
export const singleNodeModel = ({ op, attributes, operands }, inputs, constants, output) => ModelProto.encode({
  irVersion: IR_VERSION,
  opsetImport: [{ domain: '', version: OPSET }],
  graph: {
    name: op,
    node: [{ opType: op, input: operands, output: ['y'], attribute: Object.entries(attributes).map(attribute) }],
    input: Object.entries(inputs).map(([name, shape]) => valueInfo(name, shape)),
    initializer: Object.entries(constants).map(initializer),
    output: [valueInfo('y', output)],
  },
}).finish();
