// Tiles of one line, for taps along one axis: the other one is left as it is.
fn inputDown(d: array<f32, 1>) -> array<f32, 1> { return d; }
fn weightDown(g: array<f32, 1>) -> array<f32, 1> { return g; }
fn outputDown(m: array<f32, 1>) -> array<f32, 1> { return m; }
fn gradientDown(g: array<f32, 1>) -> array<f32, 1> { return g; }
fn collectDown(m: array<f32, 1>) -> array<f32, 1> { return m; }
