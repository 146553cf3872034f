// Which two source elements a resized axis mixes, in exact fractions: the positions are the same
// on every adapter, and the gradient uses the very weights of the forward pass.
struct Taps {
  low: u32,
  high: u32,
  weight: f32,      // of `high`; `low` has the rest
}

// Output `o` of `outSize` from `inSize` elements. Aligned: the end points coincide; else pixel centres scale.
fn tapsOf(o: u32, inSize: u32, outSize: u32, corners: bool) -> Taps {
  var numerator = o * (inSize - 1u);
  var denominator = max(outSize - 1u, 1u);
  if (!corners) {
    let doubled = (2u * o + 1u) * inSize;
    numerator = select(0u, doubled - outSize, doubled > outSize);
    denominator = 2u * outSize;
  }
  let low = min(numerator / denominator, inSize - 1u);
  return Taps(low, min(low + 1u, inSize - 1u), f32(numerator % denominator) / f32(denominator));
}

// Outputs that can depend on source element `i`: from x up to, not including, y.
fn touchedBy(i: u32, inSize: u32, outSize: u32, corners: bool) -> vec2u {
  var range = vec2u(0u, outSize);
  if (corners) {
    if (i > 0u) { range.x = ((i - 1u) * (outSize - 1u)) / (inSize - 1u); }
    if (i + 1u < inSize) { range.y = ((i + 1u) * (outSize - 1u)) / (inSize - 1u) + 1u; }
  } else {
    if (i > 0u) { range.x = max(((2u * i - 1u) * outSize) / (2u * inSize), 1u) - 1u; }
    if (i + 1u < inSize) { range.y = ((2u * i + 3u) * outSize) / (2u * inSize) + 1u; }
  }
  return vec2u(range.x, min(range.y, outSize));
}

// Weight of source element `i` in an output with these taps.
fn weightOf(i: u32, taps: Taps) -> f32 {
  return select(0.0, 1.0 - taps.weight, taps.low == i) + select(0.0, taps.weight, taps.high == i);
}
