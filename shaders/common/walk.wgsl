// How a kernel goes over an output whose operands have other strides (src/ops/walk.ts plans it): an invocation walks along
// one axis and finds its place among the others once, since finding it takes divisions. Strides and positions are in vec4.
// Params holds: sizes (of the axes around, the innermost last), side (invocations side by side), length (of the walked axis),
// turns (of an invocation), stretches (of that many turns) and items (invocations).
override ALONG: bool = false;       // the walked axis is the one whose entries lie side by side
override PLAIN: bool = false;       // all operands lie in the output's order, without gaps
override AXES: i32 = 4;             // how many of the axes around are in use, counted from the last
override HOP: i32 = select(1, i32(ABREAST), ALONG);

struct Walk {
  around: vec4i,      // place along the axes around
  side: i32,          // among the invocations side by side
  first: i32,         // the positions first, first + HOP, ... before `end` are the invocation's
  end: i32,
}
fn walkOf(item: u32) -> Walk {
  var neighbour = Cell(item / ABREAST, item % ABREAST);
  if (!ALONG) { neighbour = cellOf(item, P.side); }
  var stretch = Cell(0u, neighbour.row);
  if (AXES > 0) { stretch = cellOf(neighbour.row, P.stretches); }
  var rest = stretch.row;
  var around = vec4u(0u);
  for (var axis = 3; axis > 4 - AXES; axis--) {
    let next = quotient(rest, P.sizes[axis]);
    around[axis] = rest - next * P.sizes[axis];
    rest = next;
  }
  around[min(4 - AXES, 3)] = rest;
  let side = i32(neighbour.column);
  let start = i32(stretch.column * P.turns) * HOP;
  return Walk(vec4i(around), side, start + select(0, side, ALONG), min(start + i32(P.turns) * HOP, i32(P.length)));
}

// Where an operand's entry for position 0 of a walk lies.
fn startOf(walk: Walk, strides: vec4i, side: i32) -> i32 {
  let products = walk.around * strides;
  return (products.x + products.y) + (products.z + products.w) + walk.side * side;
}

// Where its entry for a position lies.
fn placeOf(position: i32, start: i32, stride: i32) -> u32 {
  return u32(select(start + position * stride, position, PLAIN));
}

// The vec4 within its row, of rows with `quads` of them: rows of several are never merged with other axes where that matters.
fn columnAt(walk: Walk, position: i32, quads: u32) -> u32 {
  return min(u32(select(walk.side, position, ALONG)), quads - 1u);
}
