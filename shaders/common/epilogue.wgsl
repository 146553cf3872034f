// The last steps of a product: y = relu(scale * sum + shift + residual), or y + scale * sum + shift. Parameters decide, which
// are the same for all invocations: one kernel serves every combination, and none is compiled that is not needed.
// The shader says what a Value is, one or four numbers, and `masked` sets those behind the end of a row to zero.
@group(0) @binding(2) var<storage, read> bias: array<Value>;      // a row of shifts; of two rows, the first are scales
@group(0) @binding(3) var<storage, read_write> y: array<Value>;
@group(0) @binding(4) var<storage, read> residual: array<Value>;

struct Line {
  scale: Value,
  shift: Value,
}

// What the sums of a column of Values are multiplied with and what is added; rows of `bias` have `pitch` Values.
fn lineOf(column: u32, pitch: u32) -> Line {
  if (P.biased == 2u) { return Line(bias[column], bias[pitch + column]); }
  if (P.biased == 1u) { return Line(Value(P.scale), bias[column]); }
  return Line(Value(P.scale), Value(0.0));
}

fn earlier(at: u32) -> Value {
  if (P.adds == 1u) { return residual[at]; }
  return y[at];
}

// One Value of a row of `width` numbers, as it is stored.
fn finished(column: u32, width: u32, sum: Value, line: Line, more: Value) -> Value {
  var v = sum * line.scale + line.shift + more;
  // A NaN must come through ReLU; max(NaN, 0) is 0 on some drivers.
  if (P.relu == 1u) { v = select(v, Value(0.0), v < Value(0.0)); }
  return masked(v, column, width);
}

fn store(at: u32, column: u32, width: u32, sum: Value, line: Line) {
  var more = Value(0.0);
  if (P.adds != 0u) { more = earlier(at); }
  y[at] = finished(column, width, sum, line, more);
}
