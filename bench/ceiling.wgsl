// What this adapter can do at most: multiply-adds on registers, and copying memory. Nothing useful is computed.
//# include grid

struct Params {
  quads: u32,
  steps: u32,
  loops: u32,
  factor: f32,
  shift: f32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

// Accumulators that do not depend on each other, so that no multiply-add waits for the one before it. The host's
// numbers keep the values finite and the compiler from computing them itself.
@compute @workgroup_size(64)
fn multiplyAdd(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let factor = vec4f(P.factor);
  let shift = vec4f(P.shift);
  let start = vec4f(f32(lane), 1.0, 2.0, 3.0);
  //# for k in 0..$ACCUMULATORS
  var sum$k = start + vec4f($k.0);
  //# end
  for (var n = 0u; n < P.loops; n++) {
    //# for step in 0..$STEPS
    //# for k in 0..$ACCUMULATORS
    sum$k = sum$k * factor + shift;
    //# end
    //# end
  }
  var total = vec4f(0.0);
  //# for k in 0..$ACCUMULATORS
  total += sum$k;
  //# end
  if (i < P.quads) { y[i] = total; }
}

@compute @workgroup_size($WORKGROUP)
fn copy(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let block = linearWorkgroup(group, groups) * $WORKGROUP * $QUADS;
  //# for k in 0..$QUADS
  let at$k = block + select($k * $WORKGROUP + lane, lane * $QUADS + $k, $ADJACENT == 1);
  if (at$k < P.quads) { y[at$k] = x[at$k]; }
  //# end
}

// The same in a loop, which drivers on CPUs run faster than the long text above.
@compute @workgroup_size(64)
fn copyLoop(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.steps, P.quads);
  for (var at = mine.first; at < mine.end; at += ABREAST) { y[at] = x[at]; }
}
