// Tiles of which both axes are transformed alike: along the first by the transforms as they are written, along the second by what a line of
// the tile counts in each of the result, which is the same transform of a unit vector. So lines can be taken in a loop:
// spelled out, they outgrow a processor's instruction cache.

fn unit(at: u32) -> array<vec4f, EDGE> {
  var e: array<vec4f, EDGE>;
  //# for i in 0..$EDGE
  e[$i] = vec4f(select(0.0, 1.0, at == $i));
  //# end
  return e;
}

fn inputShare(r: u32) -> array<vec4f, EDGE> { return inputLine(unit(r)); }
fn outputShare(r: u32) -> array<vec4f, RESULT> { return outputLine(unit(r)); }
fn weightShare(r: u32) -> array<vec4f, $TAPS> { return collectLine(unit(r)); }

// A loop bound the compiler must not know, so that it does not unroll.
fn lines() -> u32 { return P.lines; }
