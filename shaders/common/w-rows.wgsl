// Rows of w, as products of software adapters read them.

// Beyond the last row x is zero, but what is not finite would be NaN times 0.
fn rowOfW(tap: u32, row: u32, place: u32) -> vec4f {
  let last = P.depth - 1u;
  return select(loadW(tap + min(row, last) * P.wPitch + place), vec4f(0.0), RAGGED && row > last);
}

// Four rows of w from 4k on, one vec4f of columns of each.
fn rowsOfW(tap: u32, k: u32, column: u32, place: u32) -> mat4x4f {
  if (TRANSPOSED) {
    let n = column * 4u;
    let last = P.width - 1u;
    return transpose(mat4x4f(
      loadW(tap + min(n, last) * P.wPitch + k), loadW(tap + min(n + 1u, last) * P.wPitch + k),
      loadW(tap + min(n + 2u, last) * P.wPitch + k), loadW(tap + min(n + 3u, last) * P.wPitch + k)));
  }
  return mat4x4f(rowOfW(tap, 4u * k, place), rowOfW(tap, 4u * k + 1u, place), rowOfW(tap, 4u * k + 2u, place), rowOfW(tap, 4u * k + 3u, place));
}
