#!/bin/sh
# Installs the programs that are missing, for `make demo` or `make test`. Without the right to
# install (no root, no sudo) it says what is missing and succeeds: the host part works without.
set -u

log=$(mktemp)
trap 'rm -f "$log"' EXIT
want=${1:-demo}
missing=""
absent=""

need() { # program, package [package ...]: the first package list that the system knows is taken
  program=$1
  shift
  command -v "$program" >/dev/null 2>&1 && return
  absent="$absent $program"
  missing="$missing $*"
}

need arm-none-eabi-gcc gcc-arm-none-eabi libnewlib-arm-none-eabi
need qemu-system-arm qemu-system-arm
if [ "$want" = test ]; then
  need clang clang
  need g++ g++
  need riscv64-unknown-elf-gcc gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf
  need qemu-system-riscv32 qemu-system-misc
  [ -d /usr/share/datasets/fashion-mnist ] || {
    absent="$absent dataset-fashion-mnist"
    missing="$missing dataset-fashion-mnist"
  }
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
  as_root="sudo"
else
  as_root="none"
fi
if [ "$as_root" != none ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing:$missing"
  export DEBIAN_FRONTEND=noninteractive
  # newer systems keep QEMU's RISC-V machines in a package of their own
  $as_root apt-get update -qq || true
  for package in $missing; do
    if [ "$package" = qemu-system-misc ] && apt-cache show qemu-system-riscv >/dev/null 2>&1; then
      package=qemu-system-riscv
    fi
    echo "  $package"
    $as_root apt-get install -y -qq --no-install-recommends "$package" >"$log" 2>&1 ||
      tail -n 3 "$log"
  done
fi
left=""
for program in $absent; do
  [ "$program" = dataset-fashion-mnist ] && [ -d /usr/share/datasets/fashion-mnist ] && continue
  command -v "$program" >/dev/null 2>&1 || left="$left $program"
done
if [ -n "$left" ]; then
  echo "missing:$left"
  echo "install them as root with: apt-get install$missing"
  echo "what needs them is left out; the host part works without"
fi
exit 0
