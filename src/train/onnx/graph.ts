import { attributeOf, type AttributeValue, FLOAT, INT64, type OnnxNode, type OnnxTensor } from '../../io/onnx.js';
import { numel, type Shape } from '../../tensor/shape.js';

/** Collects the nodes and constants of a graph, and names them. */
export class OnnxGraph {
  readonly nodes: OnnxNode[] = [];
  readonly initializers: OnnxTensor[] = [];
  private readonly names = new Set<string>();
  private readonly integers = new Map<string, string>();

  /** Place of the nodes to come, for their names: `features/conv1`. */
  place = '';

  /** Adds a node with one output. @returns the output's name */
  add(opType: string, inputs: readonly string[], attributes: Readonly<Record<string, AttributeValue>> = {}): string {
    const name = this.unique([this.place, opType].filter(Boolean).join('/'));
    this.nodes.push({ opType, name, input: inputs, output: [name], attribute: Object.entries(attributes).map(([key, value]) => attributeOf(key, value)) });
    return name;
  }

  /** A constant of floats. */
  floats(label: string, shape: Shape, data: Float32Array): string {
    if (data.length !== numel(shape)) throw new Error(`ONNX export: ${data.length} numbers for ${label}`);
    const name = this.unique(label);
    this.initializers.push({ name, dims: shape, dataType: FLOAT, rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) });
    return name;
  }

  number(value: number): string {
    return this.floats(`number ${value}`, [], Float32Array.of(value));
  }

  /** A constant list of integers, such as a shape; equal ones are there once. */
  ints(values: readonly number[]): string {
    const key = values.join(', ');
    const known = this.integers.get(key);
    if (known) return known;
    const name = this.unique(`[${key}]`);
    this.initializers.push({ name, dims: [values.length], dataType: INT64, rawData: new Uint8Array(BigInt64Array.from(values, BigInt).buffer) });
    this.integers.set(key, name);
    return name;
  }

  /** Gives the last result the name it shall have outside. */
  rename(result: string, name: string): void {
    this.nodes.push({ opType: 'Identity', name: this.unique(name), input: [result], output: [name], attribute: [] });
  }

  private unique(name: string): string {
    let candidate = name;
    for (let n = 2; this.names.has(candidate); n++) candidate = `${name} ${n}`;
    this.names.add(candidate);
    return candidate;
  }
}
