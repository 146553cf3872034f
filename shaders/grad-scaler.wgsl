// A gradient scaler's decisions, made on the device so that no step waits for the host.

struct Params {
  growthFactor: f32,
  backoffFactor: f32,
  growthInterval: f32,
  maxNorm: f32,
}
@group(0) @binding(0) var<storage, read_write> scale: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> counts: array<vec4f>;        // good steps since the scale last changed, steps skipped
@group(0) @binding(2) var<storage, read_write> overflows: array<u32>;       // optimisers whose step was skipped since the last update
@group(0) @binding(3) var<storage, read> norm: array<vec4f>;                // of the scaled gradients
@group(0) @binding(4) var<storage, read_write> factor: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> verdict: array<u32>;         // of an optimiser: elements of its gradients that are not finite, steps skipped
@group(0) @binding(31) var<uniform> P: Params;

// Where only the scaler knows how many steps of an optimiser were skipped.
const UNKNOWN = 0xffffffffu;

// What the optimiser needs: a factor for the gradients, whether to skip the step, and how many were skipped before.
fn decision(by: f32) -> vec4f {
  let skips = verdict[0] > 0u;
  var before = verdict[1];
  if (before == UNKNOWN) { before = u32(counts[0].y); }
  verdict[0] = 0u;
  verdict[1] = before + select(0u, 1u, skips);
  if (skips) { overflows[0] = overflows[0] + 1u; }
  return vec4f(by, select(0.0, 1.0, skips), f32(before), 0.0);
}

@compute @workgroup_size(1)
fn unscale() {
  factor[0] = decision(1.0 / scale[0].x);
}

// The gradients are also brought down to a norm of maxNorm.
@compute @workgroup_size(1)
fn unscaleAndClip() {
  let inverse = 1.0 / scale[0].x;
  factor[0] = decision(inverse * min(P.maxNorm / (norm[0].x * inverse + 1e-6), 1.0));
}

@compute @workgroup_size(1)
fn update() {
  let before = scale[0].x;
  var after = before;
  var good = counts[0].x + 1.0;
  var skipped = counts[0].y;
  if (overflows[0] > 0u) {
    after = before * P.backoffFactor;
    good = 0.0;
    skipped += 1.0;
  } else if (good >= P.growthInterval) {
    // A scale beyond float32 would never come back.
    let grown = before * P.growthFactor;
    if (grown < 3.4028234663852886e38) { after = grown; }
    good = 0.0;
  }
  scale[0] = vec4f(after, 0.0, 0.0, 0.0);
  counts[0] = vec4f(good, skipped, 0.0, 0.0);
  overflows[0] = 0u;
}
