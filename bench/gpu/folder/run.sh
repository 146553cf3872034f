#!/bin/sh
# Everything in one command: unpacks into a temporary folder, measures, writes into $OUT (default: ./results).
#   sh run.sh [options]        sh run.sh --help
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
tar -xzf "$here/payload.tar.gz" -C "$work"

# The system's own libraries fit its drivers best; what it lacks is carried.
"$work/node" --version >/dev/null 2>&1 || export LD_LIBRARY_PATH="$work/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
if ! "$work/node" --version >/dev/null 2>&1; then
  echo "Node does not start here: it needs x86-64 Linux with glibc 2.28 or newer." >&2
  "$work/node" --version
fi
has_vulkan() {
  for folder in /usr/lib/x86_64-linux-gnu /usr/lib64 /usr/lib /lib/x86_64-linux-gnu /lib64; do
    [ -e "$folder/libvulkan.so.1" ] && return 0
  done
  return 1
}
has_vulkan || export LD_LIBRARY_PATH="$work/vulkan${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

out=${OUT:-$PWD/results}
case $out in /*) ;; *) out=$PWD/$out ;; esac
cd "$work/app"
"$work/node" suite.mjs --out "$out" "$@"
