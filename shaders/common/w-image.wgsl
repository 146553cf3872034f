// As x-image.
@group(0) @binding(1) var w: texture_storage_2d<rgba32float, read>;
fn loadW(at: u32) -> vec4f { return textureLoad(w, vec2u(at & 1023u, at >> 10u)); }
