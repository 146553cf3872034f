// Tiles of which both axes are transformed alike.
fn inputDown(d: array<f32, EDGE>) -> array<f32, EDGE> { return inputLine(d); }
fn weightDown(g: array<f32, $TAPS>) -> array<f32, EDGE> { return weightLine(g); }
fn outputDown(m: array<f32, EDGE>) -> array<f32, RESULT> { return outputLine(m); }
fn gradientDown(g: array<f32, RESULT>) -> array<f32, EDGE> { return gradientLine(g); }
fn collectDown(m: array<f32, EDGE>) -> array<f32, $TAPS> { return collectLine(m); }
