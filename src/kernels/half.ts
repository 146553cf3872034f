/**
 * float16 storage for kernels that were written for float32. The text is changed where it meets the buffers: a declaration
 * names the half type, a read widens, a write rounds. All arithmetic between stays float32.
 */

/** How elements of a type are held as halves. */
interface Twin {
  readonly type: string;
  readonly read: (access: string) => string;
  readonly write: (value: string) => string;
}

/** Kernels that move bits see those of the float32 number; one that is written for float16 stays as it is. */
const TWINS: Readonly<Record<string, Twin>> = {
  f32: { type: 'f16', read: (access) => `f32(${access})`, write: (value) => `f16(${value})` },
  vec4f: { type: 'vec4<f16>', read: (access) => `vec4f(${access})`, write: (value) => `vec4<f16>(${value})` },
  u32: { type: 'f16', read: (access) => `bitcast<u32>(f32(${access}))`, write: (value) => `f16(bitcast<f32>(${value}))` },
  vec4u: { type: 'vec4<f16>', read: (access) => `bitcast<vec4u>(vec4f(${access}))`, write: (value) => `vec4<f16>(bitcast<vec4f>(${value}))` },
  'vec4<f16>': { type: 'vec4<f16>', read: (access) => access, write: (value) => value },
};

/** What may follow `name[index]` and cannot be written as a whole element. */
const PART_WRITTEN = /^\s*(\[[^\]]*\]|\.\w+)\s*([-+*/%|&^]|<<|>>)?=(?!=)/;
const CHANGED_IN_PLACE = /^\s*(([-+*/%|&^]|<<|>>)=|\+\+|--)/;
const WRITTEN = /^\s*=(?!=)/;

const closingBracket = (text: string, from: number): number => {
  let depth = 1;
  let at = from;
  for (; depth > 0 && at < text.length; at++) {
    if (text[at] === '[') depth++;
    else if (text[at] === ']') depth--;
  }
  return at - 1;
};

class Rewriting {
  private readonly twin: Twin;
  private readonly declaration: RegExp;

  constructor(private readonly shader: string, private readonly binding: string, text: string) {
    this.declaration = new RegExp(`(var<storage,\\s*read(?:_write)?>\\s*${binding}\\s*:\\s*array<)([^>]+>?)(>\\s*;)`);
    const element = this.declaration.exec(text)?.[2] ?? this.refuse('it is no array in a buffer');
    this.twin = TWINS[element] ?? this.refuse(`its elements are ${element}`);
    if (new RegExp(`&\\s*${binding}\\b`).test(text)) this.refuse('its address is taken');
  }

  apply(text: string): string {
    return this.accesses(text).replace(this.declaration, `$1${this.twin.type}$3`);
  }

  private accesses(text: string): string {
    const pattern = new RegExp(`(?<![\\w.])${this.binding}\\s*\\[`, 'g');
    let out = '';
    let from = 0;
    for (let match = pattern.exec(text); match; match = pattern.exec(text)) {
      const end = closingBracket(text, pattern.lastIndex);
      const access = `${this.binding}[${this.accesses(text.slice(pattern.lastIndex, end))}]`;
      const after = text.slice(end + 1);
      if (PART_WRITTEN.test(after)) this.refuse(`a part of an element is written: "${access}${after.slice(0, 20)}"; write whole elements`);
      if (CHANGED_IN_PLACE.test(after)) this.refuse(`an element is changed in place: "${access}${after.slice(0, 20)}"; write "= old + change"`);
      const assignment = WRITTEN.exec(after);
      out += text.slice(from, match.index);
      from = end + 1;
      if (assignment) {
        const start = end + 1 + assignment[0].length;
        from = text.indexOf(';', start);
        out += `${access} = ${this.twin.write(this.accesses(text.slice(start, from)).trim())}`;
      } else {
        out += this.twin.read(access);
      }
      pattern.lastIndex = from;
    }
    return out + text.slice(from);
  }

  private refuse(why: string): never {
    throw new Error(`${this.shader}: binding "${this.binding}" cannot hold float16: ${why}`);
  }
}

/** WGSL text in which the named bindings hold float16. Lines stay where they are, comments go. */
export const withHalfBindings = (shader: string, source: string, bindings: readonly string[]): string => {
  const text = source.replace(/\/\/[^\n]*/g, '');
  return `enable f16; ${bindings.reduce((rewritten, binding) => new Rewriting(shader, binding, rewritten).apply(rewritten), text)}`;
};
