// How an axis is resized bilinearly, in exact fractions: output o lies at source position (o * step + offset) / parts. Positions
// are the same on every adapter, and steps from one to the next need no division.
struct Axis {
  size: u32,
  step: u32,        // above 0
  parts: u32,
  offset: i32,
}
// Aligned: the end points coincide; else pixel centres scale. A single element lies everywhere.
fn axisOf(size: u32, outSize: u32, aligned: bool) -> Axis {
  if (aligned && size > 1u) { return Axis(size, size - 1u, max(outSize - 1u, 1u), 0); }
  return Axis(size, 2u * size, 2u * outSize, i32(size) - i32(outSize));
}

// Where output o lies: before source element `row`, and how many parts behind the one before that. Beyond both ends the last
// element continues.
fn positionOf(o: u32, axis: Axis) -> Cell {
  return cellOf(u32(i32(o * axis.step + axis.parts) + axis.offset), axis.parts);
}
// Outputs from one on, which lies `part` behind a source element, that come before the next source element.
fn outputsFrom(part: u32, axis: Axis) -> u32 {
  return select(0u, quotient(axis.parts - part + axis.step - 1u, axis.step), part < axis.parts);
}
