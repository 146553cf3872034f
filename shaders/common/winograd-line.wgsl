// Tiles of one line, for taps along one axis: the other one is left as it is.
alias Value = vec4f;
fn masked(v: Value, column: u32, width: u32) -> Value { return maskTail(v, column, width); }

fn inputDown(d: array<Value, 1>) -> array<Value, 1> { return d; }
fn weightDown(g: array<Value, 1>) -> array<Value, 1> { return g; }
fn outputDown(m: array<Value, 1>) -> array<Value, 1> { return m; }
fn gradientDown(g: array<Value, 1>) -> array<Value, 1> { return g; }
fn collectDown(m: array<Value, 1>) -> array<Value, 1> { return m; }
