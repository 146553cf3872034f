@group(0) @binding(0) var<storage, read> x: array<vec4<f16>>;
fn loadX(at: u32) -> vec4<f16> { return x[at]; }
