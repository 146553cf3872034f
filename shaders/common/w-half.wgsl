@group(0) @binding(1) var<storage, read> w: array<vec4<f16>>;
fn loadW(at: u32) -> vec4<f16> { return w[at]; }
