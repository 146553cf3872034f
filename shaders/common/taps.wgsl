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
  let position = cellOf(numerator, denominator);
  let low = min(position.row, inSize - 1u);
  return Taps(low, min(low + 1u, inSize - 1u), f32(position.column) / f32(denominator));
}
