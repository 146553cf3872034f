// Tiles of which both axes are transformed alike. Single numbers: four at once are hardly faster in kernels as long as these, and take
// four times as long to compile.
alias Value = f32;
fn masked(v: Value, column: u32, width: u32) -> Value { return select(v, 0.0, column >= width); }

fn inputDown(d: array<Value, EDGE>) -> array<Value, EDGE> { return inputLine(d); }
fn weightDown(g: array<Value, $TAPS>) -> array<Value, EDGE> { return weightLine(g); }
fn outputDown(m: array<Value, EDGE>) -> array<Value, RESULT> { return outputLine(m); }
fn gradientDown(g: array<Value, RESULT>) -> array<Value, EDGE> { return gradientLine(g); }
fn collectDown(m: array<Value, EDGE>) -> array<Value, $TAPS> { return collectLine(m); }
