// The last steps of a product: y = relu(scale * sum + shift + residual), or y + scale * sum + shift. Parameters decide, which
// are the same for all invocations: one kernel serves every combination, and none is compiled that is not needed.
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;      // a row of shifts; of two rows, the first are scales
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<storage, read> residual: array<vec4f>;

struct Line {
  scale: vec4f,
  shift: vec4f,
}

// What the sums of a column of vec4f are multiplied with and what is added; rows of `bias` have `pitch` of them.
fn lineOf(column: u32, pitch: u32) -> Line {
  if (P.biased == 2u) { return Line(bias[column], bias[pitch + column]); }
  if (P.biased == 1u) { return Line(vec4f(P.scale), bias[column]); }
  return Line(vec4f(P.scale), vec4f(0.0));
}

fn earlier(at: u32) -> vec4f {
  if (P.adds == 1u) { return residual[at]; }
  return y[at];
}

// A vec4f of a row of `width` numbers, as it is stored.
fn finished(column: u32, width: u32, sum: vec4f, line: Line, more: vec4f) -> vec4f {
  var v = sum * line.scale + line.shift + more;
  // A NaN must come through ReLU; max(NaN, 0) is 0 on some drivers.
  if (P.relu == 1u) { v = select(v, vec4f(0.0), v < vec4f(0.0)); }
  return maskTail(v, column, width);
}

fn store(at: u32, column: u32, width: u32, sum: vec4f, line: Line) {
  var more = vec4f(0.0);
  if (P.adds != 0u) { more = earlier(at); }
  y[at] = finished(column, width, sum, line, more);
}
