// Pixels of images x. Of those that take one vec4f only the lanes that are channels are read: drivers on CPUs load lane by lane.
override LANES: u32 = 4u;    // of a pixel's vec4f that are channels

fn pixelAt(i: u32) -> vec4f {
  return maskTail(x[i], 0u, LANES);
}
