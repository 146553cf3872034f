// The recorder copies the operand into an image, 1024 texels a line: software adapters read those two to three times faster.
@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
fn loadX(at: u32) -> vec4f { return textureLoad(x, vec2u(at & 1023u, at >> 10u)); }
