#!/bin/sh
# Makes .venv with the project installed in it, editable, and the extras named as arguments.
set -eu

log=$(mktemp)
trap 'rm -f "$log"' EXIT
python=""
for name in ${PYTHON:-python3.11 python3 python}; do
  if command -v "$name" >/dev/null 2>&1 &&
    "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$name
    break
  fi
done
if [ -z "$python" ]; then
  echo "Python 3.11 or later is needed (apt-get install python3 python3-venv)" >&2
  exit 2
fi
if [ ! -x .venv/bin/pip ]; then
  echo "making a virtual environment in .venv with $($python --version)"
  rm -rf .venv
  if ! "$python" -m venv .venv >"$log" 2>&1; then
    # Debian's and Ubuntu's Python comes without ensurepip
    rm -rf .venv
    if [ "$(id -u)" = 0 ]; then
      echo "installing python3-venv"
      apt-get update -qq && apt-get install -y -qq python3-venv >"$log" 2>&1
      "$python" -m venv .venv
    else
      echo "can't make a virtual environment: apt-get install python3-venv" >&2
      exit 2
    fi
  fi
fi
extras=${1:-}
echo "installing tinymill${extras:+[$extras]} and what it needs"
.venv/bin/pip install -q --disable-pip-version-check -e ".${extras:+[$extras]}" 2>"$log" || {
  tail -n 15 "$log" >&2
  exit 2
}
