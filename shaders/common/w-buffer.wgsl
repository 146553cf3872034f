@group(0) @binding(1) var<storage, read> w: array<vec4f>;
fn loadW(at: u32) -> vec4f { return w[at]; }
