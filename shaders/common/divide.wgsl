// Drivers on CPUs divide integers one lane at a time, which costs more than all else in a small kernel; floats go
// side by side. One correction by the remainder, then one by at most 1, make the quotient exact for a below 2^31.
fn quotient(a: u32, b: u32) -> u32 {
  let divisor = f32(b);
  let guess = i32(f32(i32(a)) / divisor);
  let better = guess + i32(f32(i32(a) - guess * i32(b)) / divisor);
  let rest = i32(a) - better * i32(b);
  return u32(better + select(0, 1, rest >= i32(b)) - select(0, 1, rest < 0));
}

// The row and the column of an entry, where rows have `pitch` of them.
struct Cell {
  row: u32,
  column: u32,
}
fn cellOf(i: u32, pitch: u32) -> Cell {
  let row = quotient(i, pitch);
  return Cell(row, i - row * pitch);
}
// The place as far behind another one as `step` is behind the first of all: a loop needs no division.
fn moved(start: Cell, step: Cell, pitch: u32) -> Cell {
  let column = start.column + step.column;
  let wraps = column >= pitch;
  return Cell(start.row + step.row + select(0u, 1u, wraps), column - select(0u, pitch, wraps));
}
