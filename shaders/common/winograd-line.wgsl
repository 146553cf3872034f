// Tiles of one line, for taps along one axis: the other one is left as it is.

fn inputShare(r: u32) -> array<vec4f, 1> { return array<vec4f, 1>(vec4f(1.0)); }
fn outputShare(r: u32) -> array<vec4f, 1> { return array<vec4f, 1>(vec4f(1.0)); }
fn weightShare(r: u32) -> array<vec4f, 1> { return array<vec4f, 1>(vec4f(1.0)); }

// The compiler may know it: a loop for one line would cost a tenth.
fn lines() -> u32 { return 1u; }
