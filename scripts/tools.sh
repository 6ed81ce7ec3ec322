#!/bin/sh
# Installs the programs that are missing, for `make demo` or `make test`. Without the right to
# install (no root, no sudo) it says what is missing and succeeds: the host part works without.
set -u

want=${1:-demo}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

need() { # program, then the packages that bring it
  program=$1
  shift
  command -v "$program" >/dev/null 2>&1 && return
  absent="$absent $program"
  packages="$packages $*"
}

collect() { # sets what is absent and the packages that would bring it
  absent=""
  packages=""
  need arm-none-eabi-gcc gcc-arm-none-eabi libnewlib-arm-none-eabi
  need qemu-system-arm qemu-system-arm
  [ "$want" = test ] || return 0
  need clang clang
  need g++ g++
  need gdb-multiarch gdb-multiarch
  need cmake cmake
  need chromium chromium
  need riscv64-unknown-elf-gcc gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf
  # newer systems keep QEMU's RISC-V machines in a package of their own
  if apt-cache show qemu-system-riscv >/dev/null 2>&1; then
    need qemu-system-riscv32 qemu-system-riscv
  else
    need qemu-system-riscv32 qemu-system-misc
  fi
  if [ ! -d /usr/share/datasets/fashion-mnist ]; then
    absent="$absent fashion-mnist"
    packages="$packages dataset-fashion-mnist"
  fi
  # clang's sanitizers are a package of their own, named after its version
  if command -v clang >/dev/null 2>&1 &&
    ! echo 'int main(void){return 0;}' |
      clang -fsanitize=address -x c - -o "$log" >/dev/null 2>&1; then
    absent="$absent clang's-sanitizers"
    packages="$packages libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
  fi
}

collect
[ -n "$absent" ] || exit 0
as_root=none
if [ "$(id -u)" = 0 ]; then
  as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
  as_root="sudo"
fi
if [ "$as_root" != none ] && command -v apt-get >/dev/null 2>&1; then
  export DEBIAN_FRONTEND=noninteractive
  $as_root apt-get update -qq || true
  # twice: only an installed clang tells which sanitizers it wants
  for round in 1 2; do
    collect
    for package in $packages; do
      echo "installing $package"
      $as_root apt-get install -y -qq --no-install-recommends "$package" >"$log" 2>&1 ||
        tail -n 3 "$log"
    done
  done
  collect
fi
if [ -n "$absent" ]; then
  echo "missing:$absent"
  echo "install them as root with: apt-get install$packages"
  echo "what needs them is left out; the host part works without"
fi
exit 0
